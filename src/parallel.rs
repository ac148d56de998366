//! Sharing independent work among threads, for what runs before or beside compiled code.

use std::sync::{Mutex, OnceLock};
use std::thread;

/// The cores that this process may use; asking the system takes many microseconds.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Calls `work` with each run of `length` elements and its index, on as many threads as the machine has.
/// Elements left over at the end make a shorter run.
///
/// # Panics
/// If `length` is 0, or `work` panics.
pub fn for_each_chunk<T: Send>(data: &mut [T], length: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = data.len().div_ceil(length);
    match chunks {
        0 => return,
        1 => return work(0, data),
        _ => {}
    }
    let threads = cores().min(chunks);
    let queue = Mutex::new(data.chunks_mut(length).enumerate());
    let next = || queue.lock().expect("no thread panics while it holds the queue").next();
    let drain = || {
        while let Some((index, chunk)) = next() {
            work(index, chunk);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no more threads to give, fewer do.
            if thread::Builder::new().spawn_scoped(scope, drain).is_err() {
                break;
            }
        }
        drain();
    });
}
