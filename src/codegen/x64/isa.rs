//! The instructions that a vector operation becomes, for each width.

use iced_x86::{Code, Register};

use super::Width;
use crate::codegen::vector::Binary;

/// Opcodes at full width. Where the last operand may be memory, AVX-512's forms broadcast one element too.
pub struct Isa {
    pub add: Code,
    pub sub: Code,
    pub mul: Code,
    pub div: Code,
    pub max: Code,
    pub min: Code,
    /// `x · z + y`
    pub fma132: Code,
    /// `y · x + z`
    pub fma213: Code,
    /// `y · z + x`
    pub fma231: Code,
    pub sqrt: Code,
    /// Rounds as its immediate says.
    pub round: Code,
    pub copy: Code,
    pub load: Code,
    pub store: Code,
    /// `f16` to `f32`, from memory of half a vector.
    pub widen: Code,
    /// From memory.
    pub broadcast: Code,
    /// From a register's first lane.
    pub broadcast_lane: Code,
    pub and: Code,
    pub or: Code,
    pub xor: Code,
    pub add_integers: Code,
    pub sub_integers: Code,
    pub shift_left: Code,
    pub shift_right: Code,
    pub to_integers: Code,
    pub from_integers: Code,
    /// To a vector mask in AVX2, to a mask register in AVX-512.
    pub compare: Code,
    pub blend: Code,
    pub first_register: Register,
}

impl Isa {
    pub fn of(width: Width) -> &'static Isa {
        match width {
            Width::Avx2 => &AVX2,
            Width::Avx512 => &AVX512,
        }
    }

    pub fn register(&self, number: usize) -> Register {
        self.first_register + number as u32
    }

    pub fn binary(&self, op: Binary) -> Code {
        match op {
            Binary::Add => self.add,
            Binary::Sub => self.sub,
            Binary::Mul => self.mul,
            Binary::Div => self.div,
            Binary::Max => self.max,
            Binary::Min => self.min,
        }
    }
}

/// AVX-512's operations on the lower 256 bits.
pub fn binary_256(op: Binary) -> Code {
    match op {
        Binary::Add => Code::EVEX_Vaddps_ymm_k1z_ymm_ymmm256b32,
        Binary::Sub => Code::EVEX_Vsubps_ymm_k1z_ymm_ymmm256b32,
        Binary::Mul => Code::EVEX_Vmulps_ymm_k1z_ymm_ymmm256b32,
        Binary::Div => Code::EVEX_Vdivps_ymm_k1z_ymm_ymmm256b32,
        Binary::Max => Code::EVEX_Vmaxps_ymm_k1z_ymm_ymmm256b32,
        Binary::Min => Code::EVEX_Vminps_ymm_k1z_ymm_ymmm256b32,
    }
}

/// AVX-512's operations on the lowest 128 bits.
pub fn binary_128(op: Binary) -> Code {
    match op {
        Binary::Add => Code::EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32,
        Binary::Sub => Code::EVEX_Vsubps_xmm_k1z_xmm_xmmm128b32,
        Binary::Mul => Code::EVEX_Vmulps_xmm_k1z_xmm_xmmm128b32,
        Binary::Div => Code::EVEX_Vdivps_xmm_k1z_xmm_xmmm128b32,
        Binary::Max => Code::EVEX_Vmaxps_xmm_k1z_xmm_xmmm128b32,
        Binary::Min => Code::EVEX_Vminps_xmm_k1z_xmm_xmmm128b32,
    }
}

static AVX2: Isa = Isa {
    add: Code::VEX_Vaddps_ymm_ymm_ymmm256,
    sub: Code::VEX_Vsubps_ymm_ymm_ymmm256,
    mul: Code::VEX_Vmulps_ymm_ymm_ymmm256,
    div: Code::VEX_Vdivps_ymm_ymm_ymmm256,
    max: Code::VEX_Vmaxps_ymm_ymm_ymmm256,
    min: Code::VEX_Vminps_ymm_ymm_ymmm256,
    fma132: Code::VEX_Vfmadd132ps_ymm_ymm_ymmm256,
    fma213: Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
    fma231: Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    sqrt: Code::VEX_Vsqrtps_ymm_ymmm256,
    round: Code::VEX_Vroundps_ymm_ymmm256_imm8,
    copy: Code::VEX_Vmovaps_ymm_ymmm256,
    load: Code::VEX_Vmovups_ymm_ymmm256,
    store: Code::VEX_Vmovups_ymmm256_ymm,
    widen: Code::VEX_Vcvtph2ps_ymm_xmmm128,
    broadcast: Code::VEX_Vbroadcastss_ymm_m32,
    broadcast_lane: Code::VEX_Vbroadcastss_ymm_xmm,
    and: Code::VEX_Vpand_ymm_ymm_ymmm256,
    or: Code::VEX_Vpor_ymm_ymm_ymmm256,
    xor: Code::VEX_Vpxor_ymm_ymm_ymmm256,
    add_integers: Code::VEX_Vpaddd_ymm_ymm_ymmm256,
    sub_integers: Code::VEX_Vpsubd_ymm_ymm_ymmm256,
    shift_left: Code::VEX_Vpslld_ymm_ymm_imm8,
    shift_right: Code::VEX_Vpsrld_ymm_ymm_imm8,
    to_integers: Code::VEX_Vcvtps2dq_ymm_ymmm256,
    from_integers: Code::VEX_Vcvtdq2ps_ymm_ymmm256,
    compare: Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
    blend: Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
    first_register: Register::YMM0,
};

static AVX512: Isa = Isa {
    add: Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
    sub: Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
    mul: Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
    div: Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
    max: Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
    min: Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
    fma132: Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
    fma213: Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
    fma231: Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    sqrt: Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er,
    round: Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
    copy: Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
    load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
    store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
    widen: Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae,
    broadcast: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    broadcast_lane: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    and: Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
    or: Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
    xor: Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    add_integers: Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
    sub_integers: Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
    shift_left: Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
    shift_right: Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8,
    to_integers: Code::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er,
    from_integers: Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
    compare: Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae,
    blend: Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32,
    first_register: Register::ZMM0,
};
