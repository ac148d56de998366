//! Kernel families, each described once in the vector loop language.
