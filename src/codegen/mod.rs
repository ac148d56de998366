//! Emitters: from a plan to machine code.
