//! What comes before what among the threads of a block.
//!
//! Time is counted in barriers. Two accesses by different threads are ordered if a barrier of the block, or of their
//! warp if it is the same, lies between them.

/// The time at which a thread accesses memory, and what is ordered before that.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Of the block: barriers so far, of the block and of any warp, and one.
    pub now: u32,
    /// When the block passed its last barrier.
    pub block: u32,
    /// When this thread's warp passed its last barrier of its own.
    pub warp: u32,
}

/// A thread at a time.
#[derive(Clone, Copy)]
pub struct Actor {
    pub thread: u32,
    pub clock: Clock,
}

/// An access as it is noted for each cell of memory: the time, and which thread or threads. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp(pub u32);

/// A thread, several threads of one warp (`WARPS` and its index), or threads of several warps.
const WARPS: u32 = 1024;
const SEVERAL: u32 = WARPS + 32;

const CODE_BITS: u32 = 11;
const CODE: u32 = (1 << CODE_BITS) - 1;

/// Set while an asynchronous copy has not been waited for.
const PENDING: u32 = 1 << 31;

/// The largest time that a stamp can hold.
pub const LAST_TIME: u32 = (PENDING >> CODE_BITS) - 1;

impl Actor {
    pub fn stamp(self) -> Stamp {
        Stamp(self.clock.now << CODE_BITS | self.thread)
    }

    /// The stamp of an asynchronous copy that this thread begins.
    pub fn pending(self) -> Stamp {
        Stamp(self.stamp().0 | PENDING)
    }

    /// Whether a noted access comes before what this thread does now.
    pub fn comes_after(self, access: Stamp) -> bool {
        let (time, code) = ((access.0 & !PENDING) >> CODE_BITS, access.0 & CODE);
        time < self.clock.block || code == self.thread || self.shares_warp(code) && time < self.clock.warp
    }

    fn shares_warp(self, code: u32) -> bool {
        code == WARPS + self.thread / 32 || code < WARPS && code / 32 == self.thread / 32
    }

    /// The note of all unordered reads so far with this one added.
    pub fn joined(self, reads: Stamp) -> Stamp {
        let (time, code) = (reads.0 >> CODE_BITS, reads.0 & CODE);
        let code = if time < self.clock.block || code == self.thread {
            self.thread
        } else if self.shares_warp(code) {
            WARPS + self.thread / 32
        } else {
            SEVERAL
        };
        Stamp(self.clock.now << CODE_BITS | code)
    }

    /// Whether a note of reads already stands for this one. Since the last write, that is: of several warps at least
    /// one was ordered behind it by a barrier of the block, and then so is this thread.
    pub fn is_noted(self, reads: Stamp) -> bool {
        reads == self.stamp() || reads.0 == self.clock.now << CODE_BITS | SEVERAL
    }
}

impl Stamp {
    pub const NONE: Stamp = Stamp(0);

    pub fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Who it was.
    pub fn name(self) -> String {
        match self.0 & CODE {
            SEVERAL => "several warps".to_owned(),
            code if code >= WARPS => format!("warp {}", code - WARPS),
            code => format!("thread {code}"),
        }
    }
}
