//! The reference interpreter: the oracle that everything compiled is compared with.
