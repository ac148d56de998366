//! Rewrites of the graph, one file each, and their driver.
