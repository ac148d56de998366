//! Every emitter against the loop language's interpreter, and the code that the wide ones write.

#[path = "emitters/compare.rs"]
mod compare;
#[path = "emitters/harness.rs"]
mod harness;
#[path = "emitters/limits.rs"]
mod limits;
#[path = "emitters/listings.rs"]
mod listings;
#[path = "emitters/memory.rs"]
mod memory;
#[path = "emitters/random.rs"]
mod random;
