//! Every kernel of every shipped model through NVIDIA's assembler, for every target and precision, fused and unfused.
//!
//! Not part of plain `cargo test`, since it needs the assembler:
//! `tests/ptx/install_ptxas && cargo test --release --test ptxas`. It leaves a table in `target/ptxas/report.txt`.

#[path = "../common/mod.rs"]
mod common;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use kiln::codegen::ptx::{self, Entry, Target};
use kiln::kernels::gpu::GpuFamily;
use kiln::kernels::gpu::gemm::Precision;
use kiln::passes;
use kiln::runtime::gpu::{GpuCompileOptions, compile};

/// Every shipped model at every depth and width, and the larger tiles that a batch of images gets.
const MODELS: &[(&str, &[(&str, &str)])] = &[
    ("age_net", &[]),
    ("alexnet", &[]),
    ("alexnet_torchvision", &[]),
    ("bn_inception", &[]),
    ("digits", &[]),
    ("mobilenet_v1", &[("alpha", "1.0")]),
    ("mobilenet_v1", &[("alpha", "0.75")]),
    ("mobilenet_v1", &[("alpha", "0.5")]),
    ("mobilenet_v1", &[("alpha", "0.25")]),
    ("mobilenet_v1", &[("alpha", "0.5"), ("resolution", "160")]),
    ("mobilenet_v1", &[("batch", "32")]),
    ("mobilenet_v2", &[]),
    ("resnet", &[("depth", "18")]),
    ("resnet", &[("depth", "34")]),
    ("resnet", &[("depth", "50")]),
    ("resnet", &[("depth", "101")]),
    ("resnet", &[("depth", "152")]),
    ("resnet", &[("depth", "50"), ("batch", "32")]),
];

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::F16];

/// Registers of a multiprocessor, which a block must find room in, and the grain of their allocation to a thread.
const REGISTERS: u32 = 65536;
const REGISTER_GRAIN: u32 = 8;

/// How many kernels one run of the assembler takes.
const BATCH: usize = 16;

/// What the assembler says of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Usage {
    registers: u32,
    shared_bytes: u32,
    /// Stack, spill stores and spill loads.
    local_bytes: u32,
}

/// What kernels are joined to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Module {
    target: Target,
    tensor_cores: bool,
}

/// A distinct kernel of a target.
struct Assembly {
    module: Module,
    /// The problem string of the first kernel that has this text.
    problem: String,
    entry: Entry,
    threads: u32,
    usage: Option<Usage>,
}

/// One way of compiling a model, and its kernels: for each how many launches there are of which assembly.
struct Row {
    model: String,
    fused: bool,
    target: Target,
    precision: Precision,
    kernels: Vec<usize>,
    launches: usize,
}

/// The distinct kernels, and what uses them.
#[derive(Default)]
struct Suite {
    assemblies: Vec<Assembly>,
    /// By target, version of the language, and text.
    places: HashMap<(Target, (u32, u32), String), usize>,
    rows: Vec<Row>,
}

impl Suite {
    fn add(&mut self, (model, defines): (&str, &[(&str, &str)]), options: &GpuCompileOptions) {
        let defines_text: Vec<String> = defines.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let graph = common::models::graph(model, defines);
        let model = format!("{model} {}", defines_text.join(", ")).trim().to_owned();
        let module = compile(&graph, options).unwrap_or_else(|error| panic!("{model}, {options:?}: {error}"));
        let plan = module.plan();
        let GpuCompileOptions { target, precision, .. } = *options;
        let mut kernels = Vec::new();
        for kernel in &plan.kernels {
            let entry = kernel.emit(PLACEHOLDER, target);
            let module = Module { target, tensor_cores: precision != Precision::F32 };
            let version = target.isa(module.tensor_cores);
            let next = self.assemblies.len();
            let at = *self.places.entry((target, version, entry.text.clone())).or_insert(next);
            if at == next {
                let text = entry.text.replacen(PLACEHOLDER, &name(at), 1);
                let entry = Entry { name: name(at), text, ..entry };
                let threads = kernel.launch().threads as u32;
                self.assemblies.push(Assembly {
                    module,
                    problem: kernel.name(),
                    entry,
                    threads,
                    usage: None,
                });
            }
            kernels.push(at);
        }
        let launches = plan.steps.len();
        self.rows.push(Row { model, fused: options.passes.fuse, target, precision, kernels, launches });
    }

    /// Assembles everything on two threads; returns what went wrong.
    fn assemble(&mut self, ptxas: &Path) -> Vec<String> {
        let mut batches: BTreeMap<Module, Vec<usize>> = BTreeMap::new();
        for (at, assembly) in self.assemblies.iter().enumerate() {
            batches.entry(assembly.module).or_default().push(at);
        }
        let batches = batches
            .iter()
            .flat_map(|(&module, places)| places.chunks(BATCH).map(move |places| (module, places.to_vec())));
        let work = Mutex::new(batches.collect::<Vec<_>>());
        let results = Mutex::new((Vec::new(), Vec::new()));
        let assemblies = &self.assemblies;
        let run = || {
            while let Some((Module { target, tensor_cores }, places)) = next(&work) {
                let entries = places.iter().map(|&at| &assemblies[at].entry);
                let outcome = assemble(ptxas, target, &ptx::module(target, tensor_cores, entries));
                let mut results = results.lock().expect("no thread panics with the lock");
                match outcome {
                    Ok(usages) => {
                        results.0.extend(places.into_iter().map(|at| (at, usages.get(&name(at)).copied())))
                    }
                    Err(problem) => results.1.push(format!("{target}: {problem}")),
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(run);
            run();
        });
        let (usages, mut problems) = results.into_inner().expect("no thread panics with the lock");
        for (at, usage) in usages {
            self.assemblies[at].usage = usage;
        }
        problems.extend(self.assemblies.iter().filter_map(Assembly::fault));
        problems
    }

    fn report(&self) -> String {
        let mut text = String::from(
            "model                                   passes   target  precision  launches  kernels  registers  shared  local\n",
        );
        for row in &self.rows {
            let usages = row.kernels.iter().filter_map(|&at| self.assemblies[at].usage);
            let most = usages.fold(Usage::default(), |most, usage| Usage {
                registers: most.registers.max(usage.registers),
                shared_bytes: most.shared_bytes.max(usage.shared_bytes),
                local_bytes: most.local_bytes.max(usage.local_bytes),
            });
            let passes = if row.fused { "fused" } else { "unfused" };
            let Row { model, target, precision, kernels, launches, .. } = row;
            let Usage { registers, shared_bytes, local_bytes } = most;
            let _ = writeln!(
                text,
                "{model:<39} {passes:<8} {target:<7} {:<10} {launches:>8} {:>8} {registers:>10} {shared_bytes:>7} {local_bytes:>6}",
                precision.name(),
                kernels.len(),
            );
        }
        let _ = writeln!(text, "\n{} distinct kernels, by target:\n", self.assemblies.len());
        let _ = writeln!(text, "target  threads  registers  shared  local  kernel");
        let mut assemblies: Vec<&Assembly> = self.assemblies.iter().collect();
        assemblies.sort_by_key(|assembly| (assembly.module, &assembly.problem));
        for Assembly { module: Module { target, .. }, problem, threads, usage, .. } in assemblies {
            let Some(Usage { registers, shared_bytes, local_bytes }) = usage else { continue };
            let _ = writeln!(
                text,
                "{target:<7} {threads:>7} {registers:>10} {shared_bytes:>7} {local_bytes:>6}  {problem}"
            );
        }
        text
    }
}

impl Assembly {
    /// Blocks that the kernel asks a multiprocessor to hold.
    fn resident_blocks(&self) -> u32 {
        let asked = self.entry.text.lines().find_map(|line| line.strip_prefix(".minnctapersm "));
        asked.map_or(1, |blocks| blocks.parse().expect("a number of blocks"))
    }

    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        let fault = match self.usage {
            None => "the assembler says nothing of it".to_owned(),
            Some(Usage { registers, shared_bytes, local_bytes }) => {
                let block = registers.next_multiple_of(REGISTER_GRAIN) * self.threads.next_multiple_of(32);
                let blocks = self.resident_blocks();
                let declared = self.entry.shared_bytes;
                if local_bytes > 0 {
                    format!("{local_bytes} bytes of stack and spills")
                } else if blocks * block > REGISTERS {
                    format!("{registers} registers of {} threads in {blocks} blocks", self.threads)
                } else if shared_bytes != declared {
                    format!("{shared_bytes} bytes of shared memory, declared {declared}")
                } else {
                    return None;
                }
            }
        };
        Some(format!("{} {}: {fault}", self.module.target, self.problem))
    }
}

fn next<T>(work: &Mutex<Vec<T>>) -> Option<T> {
    work.lock().expect("no thread panics with the lock").pop()
}

/// What all kernels are called while they are compared.
const PLACEHOLDER: &str = "placeholder";

fn name(at: usize) -> String {
    format!("kernel_{at}")
}

/// Runs the assembler on a module; by kernel what it uses.
fn assemble(ptxas: &Path, target: Target, text: &str) -> Result<BTreeMap<String, Usage>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, object) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
    std::fs::write(&source, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(ptxas);
    command.arg("-v").arg("-arch").arg(target.name()).arg(&source).arg("-o").arg(&object);
    let output = command.output().map_err(|error| format!("{}: {error}", ptxas.display()))?;
    let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let errors: Vec<&str> = log.lines().filter(|line| !line.contains("info")).take(5).collect();
        return Err(errors.join("\n"));
    }
    Ok(usages(&log))
}

/// Reads the assembler's account of its work.
fn usages(log: &str) -> BTreeMap<String, Usage> {
    let mut usages: BTreeMap<String, Usage> = BTreeMap::new();
    let mut current = String::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            current = rest.split('\'').next().unwrap_or_default().to_owned();
        }
        let usage = usages.entry(current.clone()).or_default();
        for part in line.split([',', ':']) {
            let words: Vec<&str> = part.split_whitespace().collect();
            let number = |text: &str| text.parse::<u32>().unwrap_or_default();
            match words[..] {
                ["Used", count, "registers"] => usage.registers = number(count),
                [count, "bytes", "smem"] => usage.shared_bytes = number(count),
                [count, "bytes", "stack", "frame"] | [count, "bytes", "spill", _] => {
                    usage.local_bytes += number(count);
                }
                _ => {}
            }
        }
    }
    usages
}

fn installed() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ptxas/ptxas");
    assert!(path.exists(), "the PTX assembler is not installed: run tests/ptx/install_ptxas first");
    path
}

#[test]
fn kernels_of_all_models_assemble_without_spills() {
    let ptxas = installed();
    let mut suite = Suite::default();
    for &model in MODELS {
        for target in Target::ALL {
            for precision in PRECISIONS {
                let is_known = match precision {
                    Precision::F32 => true,
                    Precision::Tf32 => target.has_tf32(),
                    Precision::F16 => target.has_f16(),
                };
                for fuse in [true, false] {
                    if is_known {
                        let passes = passes::Options { fuse, ..passes::Options::default() };
                        suite.add(model, &GpuCompileOptions { target, precision, passes });
                    }
                }
            }
        }
    }
    let problems = suite.assemble(&ptxas);
    let path = ptxas.with_file_name("report.txt");
    std::fs::write(&path, suite.report()).expect("the report can be written");
    println!("{} distinct kernels, see {}", suite.assemblies.len(), path.display());
    assert!(
        problems.is_empty(),
        "{} problems, first:\n{}",
        problems.len(),
        problems[..problems.len().min(20)].join("\n")
    );
}

#[test]
fn the_account_of_the_assembler_is_understood() {
    let ptxas = installed();
    // A thread that keeps 200 values across a barrier, in 16 registers and in as many as it likes.
    let kernel = |name: &str, limit: &str| {
        let mut text = format!(
            ".visible .entry {name}(.param .u64 p0) {limit} {{\n.reg .f32 %f<201>;\n.reg .b64 %rd<2>;\n"
        );
        text += ".shared .align 16 .b8 tile[64];\nld.param.u64 %rd0, [p0];\ncvta.to.global.u64 %rd1, %rd0;\n";
        (0..200).for_each(|at| text += &format!("ld.volatile.global.f32 %f{at}, [%rd1+{}];\n", 4 * at));
        text += "bar.sync 0;\nst.shared.f32 [tile], %f0;\n";
        (0..200).for_each(|at| text += &format!("st.volatile.global.f32 [%rd1+{}], %f{at};\n", 4 * at));
        text + "ret;\n}\n"
    };
    let text = format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n{}{}",
        kernel("many", ".maxntid 128, 1, 1"),
        kernel("few", ".maxntid 1024, 1, 1\n.maxnreg 32")
    );
    let usages = assemble(&ptxas, Target::Sm80, &text).expect("the module is well-formed");
    let (many, few) = (usages["many"], usages["few"]);
    assert!(many.registers > 200 && many.local_bytes == 0 && many.shared_bytes == 64, "{many:?}");
    assert!(few.registers <= 32 && few.local_bytes > 500, "{few:?}");
    let wrong = assemble(&ptxas, Target::Sm80, &text.replace("st.shared", "st.sharde")).unwrap_err();
    assert!(wrong.contains("error"), "{wrong}");
}
