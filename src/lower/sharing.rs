//! How work is cut so that threads finish together. It changes which grid point computes what, and no bit of an answer.

/// How many of `units` each grid point takes, at most `most`, such that `threads` share `copies` (images or groups) of them
/// evenly: the most where nothing is gained by less.
pub fn share(units: usize, most: usize, copies: usize, threads: usize) -> usize {
    let most = most.clamp(1, units.max(1));
    let mut best = (longest(units, most, copies, threads), most);
    for block in (1..most).rev() {
        let time = longest(units, block, copies, threads);
        if time * WORTHWHILE < best.0 {
            best = (time, block);
        }
    }
    best.1
}

/// The same where starting a block takes as long as `start` units, so that few are better: two for each thread and copy at most.
pub fn share_few(units: usize, copies: usize, threads: usize, start: f64) -> usize {
    let time = |block: usize| {
        let blocks = (copies * units.div_ceil(block)).div_ceil(threads);
        longest(units, block, copies, threads) + start * blocks as f64
    };
    let blocks = (1..=units.clamp(1, 2 * threads)).map(|parts| units.div_ceil(parts).max(1));
    blocks.min_by(|&a, &b| time(a).total_cmp(&time(b))).unwrap_or(1)
}

/// How many times as long the larger blocks must take for smaller ones to be preferred.
pub const WORTHWHILE: f64 = 1.02;

/// Grid points for each thread from which on their sizes even out.
const MANY: usize = 16;

/// Units that the busiest of `threads` computes, where each takes the next block once it is free.
pub fn longest(units: usize, block: usize, copies: usize, threads: usize) -> f64 {
    let blocks = units.div_ceil(block);
    if threads == 1 || copies * blocks > MANY * threads {
        return (copies * units) as f64 / threads as f64;
    }
    let mut loads = vec![0; threads];
    for point in 0..copies * blocks {
        let size = block.min(units - point % blocks * block);
        let idle = loads.iter_mut().min().expect("there is a thread");
        *idle += size;
    }
    loads.into_iter().max().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::{share, share_few};

    #[test]
    fn threads_share_evenly() {
        assert_eq!(share(10, 3, 1, 1), 3, "one thread has nothing to share");
        assert_eq!(share(10, 3, 1, 2), 1, "five rows each, instead of six and four");
        assert_eq!(share(12, 3, 1, 2), 3);
        assert_eq!(share(7, 7, 1, 2), 4, "no two threads share seven rows more evenly");
        assert_eq!(share(7, 7, 2, 2), 7, "but each may take an image");
        assert_eq!(share(0, 4, 1, 2), 1);
        assert_eq!(share(1000, 9, 1, 2), 9, "many blocks even out");
    }

    #[test]
    fn few_blocks_where_starting_one_takes_long() {
        assert_eq!(share_few(43, 1, 1, 0.1), 43, "one thread has nothing to share");
        assert_eq!(share_few(43, 1, 2, 1.0), 22);
        assert_eq!(share_few(7, 1, 2, 0.0), 4, "no two threads share seven panels more evenly");
        assert_eq!(share_few(9, 2, 2, 1.0), 9, "each thread takes an image");
        assert_eq!(share_few(0, 1, 2, 1.0), 1);
    }
}
