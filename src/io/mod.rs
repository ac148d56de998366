//! Files of arrays and pictures.
