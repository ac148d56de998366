//! Graph to plan: layouts, algorithms, tiles, packed weights, arena.
