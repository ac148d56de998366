//! What the machine that kernels are compiled for can do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instruction set that kernels can be emitted for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstructionSet {
    /// 128-bit vectors through Cranelift, on any CPU that it knows.
    Baseline,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors with masks.
    Avx512,
}

impl InstructionSet {
    pub const ALL: [InstructionSet; 3] =
        [InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512];

    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Baseline => "baseline",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Avx512 => "avx512",
        }
    }

    /// Elements of `f32` per vector register.
    pub fn lanes(self) -> usize {
        match self {
            InstructionSet::Baseline => 4,
            InstructionSet::Avx2 => 8,
            InstructionSet::Avx512 => 16,
        }
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        match self {
            InstructionSet::Baseline if cfg!(target_arch = "aarch64") => 32,
            InstructionSet::Baseline | InstructionSet::Avx2 => 16,
            InstructionSet::Avx512 => 32,
        }
    }

    /// How many registers a tile can keep sums in. Cranelift's x86 multiply-add overwrites a factor, not the sum, so
    /// it needs registers to copy through.
    pub fn accumulators(self) -> usize {
        match self {
            InstructionSet::Baseline if cfg!(target_arch = "aarch64") => 24,
            InstructionSet::Baseline => 9,
            InstructionSet::Avx2 => 12,
            InstructionSet::Avx512 => 28,
        }
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        match self {
            InstructionSet::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => {
                InstructionSet::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            InstructionSet::Avx2 | InstructionSet::Avx512 => false,
        }
    }

    /// The widest that this CPU can run.
    pub fn detect() -> Self {
        let available = InstructionSet::ALL.into_iter().filter(|isa| isa.is_available());
        available.max().expect("the baseline is always available")
    }
}

/// The kinds of cores that kernels are cut up for: how many vectors they multiply and add at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Core {
    /// Two multiply-adds of a vector each cycle, additions on the same units.
    Generic,
    /// AMD's Zen 4, and Zen 5 where its units have half the width: a multiply-add of a 512-bit vector each cycle, two of
    /// narrower ones; as many additions, on other units.
    Zen4,
    /// AMD's Zen 5: two multiply-adds of a 512-bit vector each cycle, and two additions on other units.
    Zen5,
}

impl Core {
    pub const ALL: [Core; 3] = [Core::Generic, Core::Zen4, Core::Zen5];

    /// That of this CPU.
    pub fn detect() -> Self {
        match amd_family_and_model() {
            Some((25, _)) => Core::Zen4,
            // Laptops' processors: Strix Point and Krackan Point.
            Some((26, 0x20..=0x2f | 0x60..=0x6f)) => Core::Zen4,
            Some((26, _)) => Core::Zen5,
            _ => Core::Generic,
        }
    }
}

/// The family and model of an AMD processor.
#[cfg(target_arch = "x86_64")]
fn amd_family_and_model() -> Option<(u32, u32)> {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    if [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() != b"AuthenticAMD" {
        return None;
    }
    let signature = __cpuid(1).eax;
    let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
    let model = (signature >> 4 & 0xf) | (signature >> 12 & 0xf0);
    Some((family, model))
}

#[cfg(not(target_arch = "x86_64"))]
fn amd_family_and_model() -> Option<(u32, u32)> {
    None
}

/// What kernels are chosen for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    pub isa: InstructionSet,
    pub core: Core,
}

impl Cpu {
    /// Elements of `f32` per vector register.
    pub fn lanes(self) -> usize {
        self.isa.lanes()
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        self.isa.registers()
    }

    /// How many registers a tile can keep sums in.
    pub fn accumulators(self) -> usize {
        self.isa.accumulators()
    }

    /// Whether it multiplies two 512-bit vectors each cycle.
    pub fn is_wide(self) -> bool {
        self.isa == InstructionSet::Avx512 && self.core != Core::Zen4
    }

    /// Vectors that are multiplied or loaded each cycle.
    pub fn vectors_per_cycle(self) -> f64 {
        if self.isa == InstructionSet::Avx512 && self.core == Core::Zen4 { 1.0 } else { 2.0 }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
