//! What the GPUs that PTX is emitted for can do.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A compute capability. PTX for one runs on all later ones, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub enum Target {
    /// Volta (V100)
    #[serde(rename = "sm_70")]
    Sm70,
    /// Turing (T4)
    #[serde(rename = "sm_75")]
    Sm75,
    /// Ampere (A100)
    #[serde(rename = "sm_80")]
    Sm80,
    /// Ampere (A10, RTX 30)
    #[serde(rename = "sm_86")]
    Sm86,
    /// Ada (L4, L40S, RTX 40)
    #[serde(rename = "sm_89")]
    Sm89,
    /// Hopper (H100, H200)
    #[serde(rename = "sm_90")]
    Sm90,
}

impl Target {
    pub const ALL: [Target; 6] =
        [Target::Sm70, Target::Sm75, Target::Sm80, Target::Sm86, Target::Sm89, Target::Sm90];

    pub fn name(self) -> &'static str {
        match self {
            Target::Sm70 => "sm_70",
            Target::Sm75 => "sm_75",
            Target::Sm80 => "sm_80",
            Target::Sm86 => "sm_86",
            Target::Sm89 => "sm_89",
            Target::Sm90 => "sm_90",
        }
    }

    /// The newest target whose code a device of compute capability `major.minor` runs.
    pub fn for_device(major: u32, minor: u32) -> Option<Target> {
        let capability = |target: &Target| target.name()[3..].parse::<u32>().expect("a number");
        Target::ALL.into_iter().rev().find(|target| capability(target) <= major * 10 + minor)
    }

    /// The newest target whose code the devices of a compute capability that is no target run, such as `sm_120`, or
    /// `sm_90a`: the instructions that a letter adds to a capability run on no other, and kiln uses none of them.
    fn that_runs_on(name: &str) -> Option<Target> {
        let number = name.strip_prefix("sm_")?.trim_end_matches(['a', 'f']);
        let number: u32 = number.parse().ok()?;
        Target::for_device(number / 10, number % 10)
    }

    /// The first version of the PTX language that knows the target, and its tensor cores' instructions where they
    /// are asked for.
    pub fn isa(self, tensor_cores: bool) -> (u32, u32) {
        match self {
            Target::Sm70 => (6, 0),
            Target::Sm75 if tensor_cores => (6, 5),
            Target::Sm75 => (6, 3),
            Target::Sm80 => (7, 0),
            Target::Sm86 => (7, 1),
            Target::Sm89 | Target::Sm90 => (7, 8),
        }
    }

    /// Streaming multiprocessors of the usual device: V100, T4, A100, A10, L40S, H100.
    pub fn multiprocessors(self) -> u32 {
        match self {
            Target::Sm70 => 80,
            Target::Sm75 => 40,
            Target::Sm80 => 108,
            Target::Sm86 => 72,
            Target::Sm89 => 142,
            Target::Sm90 => 132,
        }
    }

    /// Bytes of shared memory of a multiprocessor.
    pub fn shared_per_multiprocessor(self) -> u32 {
        match self {
            Target::Sm70 => 96 << 10,
            Target::Sm75 => 64 << 10,
            Target::Sm80 => 164 << 10,
            Target::Sm86 | Target::Sm89 => 100 << 10,
            Target::Sm90 => 228 << 10,
        }
    }

    /// Threads that a multiprocessor holds.
    pub fn threads_per_multiprocessor(self) -> u32 {
        match self {
            Target::Sm70 | Target::Sm80 | Target::Sm90 => 2048,
            Target::Sm75 => 1024,
            Target::Sm86 | Target::Sm89 => 1536,
        }
    }

    /// `f32` multiply-adds that a multiprocessor begins each clock.
    pub fn fma_per_clock(self) -> u32 {
        match self {
            Target::Sm70 | Target::Sm75 | Target::Sm80 => 64,
            Target::Sm86 | Target::Sm89 | Target::Sm90 => 128,
        }
    }

    /// Whether `cp.async` copies from global to shared memory without passing through registers.
    pub fn has_async_copy(self) -> bool {
        self >= Target::Sm80
    }

    /// Whether tensor cores take `tf32`.
    pub fn has_tf32(self) -> bool {
        self >= Target::Sm80
    }

    /// Whether tensor cores take `f16` in fragments of 8×8 (`mma.m16n8k8`, `ldmatrix`).
    pub fn has_f16(self) -> bool {
        self >= Target::Sm75
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Target::ALL.into_iter().find(|target| target.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Target::ALL.iter().map(|target| target.name()).collect();
            let problem = format!("there is no target '{text}'; kiln emits PTX for {}", known.join(", "));
            match Target::that_runs_on(text) {
                Some(target) => {
                    format!("{problem}\nhelp: devices of {text} run what is emitted for {target}")
                }
                None => problem,
            }
        })
    }
}
