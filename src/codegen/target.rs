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

    /// Whether this CPU adds vectors on other units than it multiplies them on, and can keep both busy: up to two additions
    /// then cost nothing beside three multiply-adds. So do the cores of AMD's family 25 that have AVX-512 (Zen 4). AVX2 has
    /// neither the registers for it nor operands that are broadcast from memory.
    pub fn adds_beside_multiplying(self) -> bool {
        self == InstructionSet::Avx512 && self.is_available() && is_family_25()
    }

    /// The widest that this CPU can run.
    pub fn detect() -> Self {
        let available = InstructionSet::ALL.into_iter().filter(|isa| isa.is_available());
        available.max().expect("the baseline is always available")
    }
}

#[cfg(target_arch = "x86_64")]
fn is_family_25() -> bool {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    if [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() != b"AuthenticAMD" {
        return false;
    }
    let signature = __cpuid(1).eax;
    let (base, extended) = (signature >> 8 & 0xf, signature >> 20 & 0xff);
    base + extended == 25
}

#[cfg(not(target_arch = "x86_64"))]
fn is_family_25() -> bool {
    false
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
