//! Threads that run a list of steps together.
//!
//! All threads walk the steps in the same order. The points of a step are divided into one share per thread, so that
//! a thread finds in its cache what it wrote in the step before; who has finished takes from the others' shares.
//! Within a run threads wait for each other by spinning, since steps take microseconds. So they do for a moment after it,
//! since waking a thread takes tens of microseconds; where no other run follows they sleep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long threads stay awake for another run.
const LINGER: Duration = Duration::from_micros(200);

/// Work that [`Threads::run`] divides: `points` of each step in any order, steps one after the other.
pub trait Steps: Sync {
    fn steps(&self) -> usize;

    fn points(&self, step: usize) -> usize;

    /// Computes one point on thread `thread`.
    fn run(&self, thread: usize, step: usize, point: usize);

    /// Called on the calling thread after each step is complete.
    fn completed(&self, _step: usize) {}
}

/// A counter alone on its cache line.
#[repr(align(64))]
#[derive(Default)]
struct Counter(AtomicUsize);

/// A team of threads: the caller's and those that sleep until it calls.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    threads: usize,
    /// Per step and thread, how many points of its share have been taken.
    taken: Vec<Counter>,
    /// Per step, how many points are done.
    done: Vec<Counter>,
    /// Threads that have left the run.
    left: AtomicUsize,
    /// The job's generation, for threads that are still awake.
    generation: AtomicUsize,
    job: Mutex<Job>,
    wake: Condvar,
}

#[derive(Default)]
struct Job {
    generation: usize,
    steps: Option<&'static dyn Steps>,
    /// Threads that must be woken.
    asleep: usize,
    stop: bool,
}

impl Threads {
    /// A team of `threads` (the caller's included) for work of up to `steps` steps.
    pub fn new(threads: usize, steps: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            threads,
            taken: (0..steps * threads).map(|_| Counter::default()).collect(),
            done: (0..steps).map(|_| Counter::default()).collect(),
            left: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            job: Mutex::new(Job::default()),
            wake: Condvar::new(),
        });
        let mut team = Threads { shared, workers: Vec::new() };
        for thread in 1..threads {
            let shared = Arc::clone(&team.shared);
            let worker = std::thread::Builder::new()
                .name(format!("kiln-{thread}"))
                .spawn(move || shared.worker(thread))?;
            team.workers.push(worker);
        }
        Ok(team)
    }

    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs all steps; returns when every point is done and no thread touches `steps` any more.
    pub fn run(&mut self, steps: &dyn Steps) {
        if self.workers.is_empty() {
            for step in 0..steps.steps() {
                for point in 0..steps.points(step) {
                    steps.run(0, step, point);
                }
                steps.completed(step);
            }
            return;
        }
        let shared = &*self.shared;
        assert!(steps.steps() <= shared.done.len(), "the team was made for fewer steps");
        for counter in shared.taken.iter().chain(&shared.done) {
            counter.0.store(0, Ordering::Relaxed);
        }
        shared.left.store(0, Ordering::Relaxed);
        let asleep = {
            let mut job = shared.job.lock().expect("workers do not panic");
            job.generation += 1;
            // SAFETY: the reference is dropped by every worker before it counts itself in `left`, which this
            // function waits for before it returns; so it never outlives `steps`.
            job.steps = Some(unsafe { std::mem::transmute::<&dyn Steps, &'static dyn Steps>(steps) });
            shared.generation.store(job.generation, Ordering::Release);
            job.asleep
        };
        if asleep > 0 {
            shared.wake.notify_all();
        }
        shared.work(0, steps);
        wait_until(|| shared.left.load(Ordering::Acquire) == shared.threads - 1);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.job.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stop = true;
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to clean up.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn worker(&self, thread: usize) {
        let mut seen = 0;
        loop {
            self.linger(seen);
            let steps = {
                let mut job = self.job.lock().expect("the caller does not panic with the lock held");
                while job.generation == seen && !job.stop {
                    job.asleep += 1;
                    job = self.wake.wait(job).expect("the caller does not panic with the lock held");
                    job.asleep -= 1;
                }
                if job.stop {
                    return;
                }
                seen = job.generation;
                job.steps.expect("set with the generation")
            };
            self.work(thread, steps);
            self.left.fetch_add(1, Ordering::Release);
        }
    }

    /// Waits for a run after `seen`, for a moment.
    fn linger(&self, seen: usize) {
        let start = Instant::now();
        while self.generation.load(Ordering::Acquire) == seen && start.elapsed() < LINGER {
            for _ in 0..16 {
                std::hint::spin_loop();
            }
            // To whoever has work for this core.
            std::thread::yield_now();
        }
    }

    fn work(&self, thread: usize, steps: &dyn Steps) {
        for step in 0..steps.steps() {
            let points = steps.points(step);
            let mut completed = 0;
            for owner in (0..self.threads).map(|offset| (thread + offset) % self.threads) {
                let first = points * owner / self.threads;
                let share = points * (owner + 1) / self.threads - first;
                let taken = &self.taken[step * self.threads + owner].0;
                while taken.load(Ordering::Relaxed) < share {
                    let at = taken.fetch_add(1, Ordering::Relaxed);
                    if at >= share {
                        break;
                    }
                    steps.run(thread, step, first + at);
                    completed += 1;
                }
            }
            let done = &self.done[step].0;
            if completed > 0 {
                done.fetch_add(completed, Ordering::AcqRel);
            }
            wait_until(|| done.load(Ordering::Acquire) == points);
            if thread == 0 {
                steps.completed(step);
            }
        }
    }
}

/// Spins, and gives the processor away where the wait is long.
fn wait_until(ready: impl Fn() -> bool) {
    let mut rounds = 0u32;
    while !ready() {
        rounds += 1;
        if rounds < 10_000 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
