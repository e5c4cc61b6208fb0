//! The peak of this processor: multiply-adds per second that the instruction of a backend reaches when nothing else
//! is in its way. What a layer takes is compared with it.
//!
//! Chains of the instruction that do not depend on each other run in registers only, written in `asm!` so that the
//! compiler cannot see that they compute nothing. The marks of the ARM chains are for `benches/mca.py`.

use std::time::{Duration, Instant};

use super::Isa;

/// How long the probe takes, unless the machine is very slow.
const TIME: Duration = Duration::from_millis(50);
/// Turns of a chain between two looks at the clock: about a tenth of a millisecond.
const TURNS: u64 = 50_000;

/// The multiplying instructions of a backend in a loop.
struct Chain {
    run: fn(turns: u64),
    /// Multiply-adds of one turn.
    macs: u32,
}

/// The peak of one core in multiply-adds per second. `None` if this processor lacks `isa`, or `isa` is none of its
/// own: the scalar and the portable backend are whatever the compiler made of them.
#[must_use]
pub fn peak(isa: Isa) -> Option<f64> {
    let chain = chain(isa)?;
    let started = Instant::now();
    let mut best = Duration::MAX;
    while started.elapsed() < TIME {
        let began = Instant::now();
        (chain.run)(TURNS);
        best = best.min(began.elapsed());
    }
    #[allow(clippy::cast_precision_loss)] // a few million
    let macs = (TURNS * u64::from(chain.macs)) as f64;
    (!best.is_zero()).then(|| macs / best.as_secs_f64())
}

#[cfg(target_arch = "x86_64")]
fn chain(isa: Isa) -> Option<Chain> {
    use std::is_x86_feature_detected as has;
    match isa {
        Isa::Avx2 if has!("avx2") => Some(Chain {
            run: x86_64::avx2,
            macs: 10 * 64,
        }),
        Isa::Avx512Vnni if has!("avx512f") && has!("avx512vnni") => Some(Chain {
            run: x86_64::avx512vnni,
            macs: 24 * 64,
        }),
        _ => None,
    }
}

#[cfg(target_arch = "aarch64")]
fn chain(isa: Isa) -> Option<Chain> {
    match isa {
        Isa::Dotprod if std::arch::is_aarch64_feature_detected!("dotprod") => Some(Chain {
            run: aarch64::dotprod,
            macs: 16 * 16,
        }),
        Isa::I8mm if std::arch::is_aarch64_feature_detected!("i8mm") => Some(Chain {
            run: aarch64::i8mm,
            macs: 16 * 32,
        }),
        Isa::Neon => Some(Chain {
            run: aarch64::neon,
            macs: 8 * 16,
        }),
        _ => None,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn chain(_: Isa) -> Option<Chain> {
    None
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // instructions that only some processors have
mod x86_64 {
    use std::arch::asm;

    macro_rules! madd {
        ($($sum:literal)*) => {
            concat!($(
                "vpmaddubsw ymm12, ymm14, ymm15\n",
                "vpmaddubsw ymm13, ymm14, ymm15\n",
                "vpaddw ymm12, ymm12, ymm13\n",
                "vpmaddwd ymm12, ymm12, ymm15\n",
                "vpaddd ymm", $sum, ", ymm", $sum, ", ymm12\n",
            )*)
        };
    }

    /// Ten chains of two `vpmaddubsw`, summed before they are widened: 64 multiply-adds each.
    pub fn avx2(turns: u64) {
        #[target_feature(enable = "avx2")]
        fn inner(turns: u64) {
            // SAFETY: reads and writes no memory, and every register that it changes is named.
            unsafe {
                asm!(
                    "vpxor ymm14, ymm14, ymm14",
                    "vpxor ymm15, ymm15, ymm15",
                    "2:",
                    madd!(0 1 2 3 4 5 6 7 8 9),
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) turns => _,
                    out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                    out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
                    out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                    options(nomem, nostack),
                );
            }
        }
        // SAFETY: `chain` has found AVX2.
        unsafe { inner(turns) }
    }

    macro_rules! dp {
        ($($sum:literal)*) => { concat!($("vpdpbusd zmm", $sum, ", zmm30, zmm31\n"),*) };
    }

    /// Twenty-four chains of `vpdpbusd`, 64 multiply-adds each.
    pub fn avx512vnni(turns: u64) {
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn inner(turns: u64) {
            // SAFETY: reads and writes no memory, and every register that it changes is named.
            unsafe {
                asm!(
                    "vpxord zmm30, zmm30, zmm30",
                    "vpxord zmm31, zmm31, zmm31",
                    "2:",
                    dp!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23),
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) turns => _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                    out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm30") _, out("zmm31") _,
                    options(nomem, nostack),
                );
            }
        }
        // SAFETY: `chain` has found AVX512F and AVX512-VNNI.
        unsafe { inner(turns) }
    }
}

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)] // instructions that only some processors have
mod aarch64 {
    use std::arch::asm;

    macro_rules! dot {
        ($($sum:literal)*) => { concat!($("sdot v", $sum, ".4s, v30.16b, v31.4b[0]\n"),*) };
    }

    /// Sixteen chains of `sdot`, 16 multiply-adds each.
    pub fn dotprod(turns: u64) {
        #[target_feature(enable = "neon,dotprod")]
        fn inner(turns: u64) {
            // SAFETY: reads and writes no memory, and every register that it changes is named.
            unsafe {
                asm!(
                    "movi v30.16b, #0",
                    "movi v31.16b, #0",
                    "// LLVM-MCA-BEGIN peak_dotprod macs=256",
                    "2:",
                    dot!(0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23),
                    "subs {turns}, {turns}, #1",
                    "b.ne 2b",
                    "// LLVM-MCA-END peak_dotprod",
                    turns = inout(reg) turns => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                    out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                    out("v22") _, out("v23") _, out("v30") _, out("v31") _,
                    options(nomem, nostack),
                );
            }
        }
        // SAFETY: `chain` has found the dot product.
        unsafe { inner(turns) }
    }

    macro_rules! matrix {
        ($($sum:literal)*) => { concat!($("smmla v", $sum, ".4s, v30.16b, v31.16b\n"),*) };
    }

    /// Sixteen chains of `smmla`, 32 multiply-adds each.
    pub fn i8mm(turns: u64) {
        // SAFETY: `chain` has found the matrix multiplication; reads and writes no memory, and every register that it
        // changes is named.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "movi v30.16b, #0",
                "movi v31.16b, #0",
                "// LLVM-MCA-BEGIN peak_i8mm macs=512",
                "2:",
                matrix!(0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23),
                "subs {turns}, {turns}, #1",
                "b.ne 2b",
                "// LLVM-MCA-END peak_i8mm",
                turns = inout(reg) turns => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _, out("v23") _, out("v30") _, out("v31") _,
                options(nomem, nostack),
            );
        }
    }

    macro_rules! long {
        ($($sum:literal $product:literal)*) => {
            concat!(
                $("smull v", $product, ".8h, v30.8b, v31.8b\n"),*,
                $("smlal2 v", $product, ".8h, v30.16b, v31.16b\n"),*,
                $("sadalp v", $sum, ".4s, v", $product, ".8h\n"),*
            )
        };
    }

    /// Eight chains of `smull`, `smlal2` and `sadalp`, 16 multiply-adds each.
    pub fn neon(turns: u64) {
        // SAFETY: every aarch64 processor has NEON; reads and writes no memory, and every register that it changes
        // is named.
        unsafe {
            asm!(
                "movi v30.16b, #0",
                "movi v31.16b, #0",
                "// LLVM-MCA-BEGIN peak_neon macs=128",
                "2:",
                long!(0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23),
                "subs {turns}, {turns}, #1",
                "b.ne 2b",
                "// LLVM-MCA-END peak_neon",
                turns = inout(reg) turns => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _, out("v23") _, out("v30") _, out("v31") _,
                options(nomem, nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::available;
    use super::*;

    #[test]
    fn what_no_instruction_set_stands_for_has_no_peak() {
        assert_eq!(peak(Isa::Scalar), None);
        assert_eq!(peak(Isa::Portable), None);
    }

    #[test]
    fn every_other_instruction_set_has_a_plausible_one() {
        for isa in available() {
            if let Some(peak) = peak(isa) {
                // a slow core under emulation; two AMX units would be the other end
                assert!((1e7..1e13).contains(&peak), "{isa}: {peak}");
            }
        }
    }
}
