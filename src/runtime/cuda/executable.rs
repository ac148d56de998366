//! A model on a GPU: one arena, weights uploaded once, all launches in one graph.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, result};

use super::module::Module;
use super::{CudaError, Device, doing};
use crate::lower::gpu::{Argument, GpuPlan, GpuPort, Memory};
use crate::runtime::RunError;
use crate::runtime::gpu::GpuModule;
use crate::tensor::Tensor;
use crate::weights::Weights;

/// A compiled model with its weights in the device's memory, ready to run. Fields are dropped in this order: graphs
/// before the kernels and the memory that they use.
pub struct CudaExecutable {
    /// The first one computes answers; more of them take turns where times are taken.
    instances: Vec<Instance>,
    /// The instance that the next timed run takes.
    next: usize,
    module: Module,
    weights: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    plan: GpuPlan,
}

/// An arena, and all launches that work in it.
struct Instance {
    graph: CudaGraph,
    launches: Vec<Launch>,
    arena: CudaSlice<u8>,
}

struct Launch {
    kernel: usize,
    grid: [u32; 3],
    threads: u32,
    arguments: Vec<u64>,
}

impl CudaExecutable {
    /// Loads the kernels, uploads the weights and captures the graph.
    ///
    /// # Errors
    /// Where weights are missing, the device's memory does not suffice, or the driver refuses the kernels.
    pub fn new(device: &Device, compiled: &GpuModule, weights: &Weights) -> Result<Self, CudaError> {
        let plan = compiled.plan().clone();
        let module = Module::load(&device.context, &compiled.ptx(), &plan.entry_names())?;
        let blob = compiled.pack(weights)?;
        let stream = device.context.new_stream().map_err(doing("make a stream"))?;
        let mut on_device = reserve(&stream, plan.weight_bytes, "weights")?;
        if !blob.is_empty() {
            stream.memcpy_htod(&blob, &mut on_device).map_err(doing("take the weights"))?;
        }
        stream.synchronize().map_err(doing("take the weights"))?;
        let first = Instance::new(&stream, &module, &plan, &on_device)?;
        Ok(CudaExecutable { instances: vec![first], next: 0, module, weights: on_device, stream, plan })
    }

    /// Has `count` arenas in all, each with a graph of its own, take turns in [`CudaExecutable::time`], so that a run
    /// does not find its inputs and activations in a cache where the run before it left them. To be called before the
    /// inputs are given by [`CudaExecutable::run`]. Answers do not change.
    ///
    /// # Errors
    /// Where the device's memory does not suffice.
    pub fn rotate(&mut self, count: usize) -> Result<(), CudaError> {
        while self.instances.len() < count {
            let another = Instance::new(&self.stream, &self.module, &self.plan, &self.weights)?;
            self.instances.push(another);
        }
        Ok(())
    }

    pub fn plan(&self) -> &GpuPlan {
        &self.plan
    }

    /// Runs on `inputs` in the order of the plan's.
    ///
    /// # Errors
    /// Where the inputs are not the model's, or a kernel fails.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, CudaError> {
        self.upload(inputs)?;
        self.instances[0].graph.launch().map_err(doing("launch the graph"))?;
        self.stream.synchronize().map_err(doing("run the kernels"))?;
        self.fetch()
    }

    /// Milliseconds of the device for one run on the inputs that the last [`CudaExecutable::run`] left there.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn time(&mut self) -> Result<f64, CudaError> {
        let instance = &self.instances[self.next];
        self.next = (self.next + 1) % self.instances.len();
        let start = self.event()?;
        instance.graph.launch().map_err(doing("launch the graph"))?;
        let end = self.event()?;
        Ok(f64::from(start.elapsed_ms(&end).map_err(doing("run the kernels"))?))
    }

    /// Milliseconds of each launch of one run, launched one by one.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn time_steps(&mut self) -> Result<Vec<f64>, CudaError> {
        let mut events = vec![self.event()?];
        for launch in &self.instances[0].launches {
            enqueue(&self.stream, &self.module, launch)?;
            events.push(self.event()?);
        }
        let pairs = events.windows(2);
        let elapsed =
            pairs.map(|pair| Ok(f64::from(pair[0].elapsed_ms(&pair[1]).map_err(doing("run a kernel"))?)));
        elapsed.collect()
    }

    fn event(&self) -> Result<CudaEvent, CudaError> {
        self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(doing("record an event"))
    }

    fn upload(&mut self, inputs: &[Tensor]) -> Result<(), CudaError> {
        let ports = &self.plan.inputs;
        if ports.len() != inputs.len() {
            return Err(RunError::Count { what: "input", expected: ports.len(), given: inputs.len() }.into());
        }
        for (port, input) in ports.iter().zip(inputs) {
            if port.shape != *input.shape() {
                let (name, expected, given) = (port.name.clone(), port.shape.clone(), input.shape().clone());
                return Err(RunError::InputShape { name, expected, given }.into());
            }
            let bytes: Vec<u8> = input.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            for instance in &mut self.instances {
                let mut place = instance.arena.slice_mut(port.offset..port.offset + port.bytes);
                self.stream.memcpy_htod(&bytes, &mut place).map_err(doing("take the inputs"))?;
            }
        }
        Ok(())
    }

    fn fetch(&self) -> Result<Vec<Tensor>, CudaError> {
        let fetch = |port: &GpuPort| {
            let place = self.instances[0].arena.slice(port.offset..port.offset + port.bytes);
            let bytes = self.stream.clone_dtoh(&place).map_err(doing("give the outputs"))?;
            self.stream.synchronize().map_err(doing("give the outputs"))?;
            let words = bytes.chunks_exact(size_of::<f32>());
            let data = words.map(|word| f32::from_le_bytes(word.try_into().expect("four bytes"))).collect();
            Ok(Tensor::new(port.shape.clone(), data))
        };
        self.plan.outputs.iter().map(fetch).collect()
    }
}

impl Drop for CudaExecutable {
    fn drop(&mut self) {
        // Kernels that still run use what is dropped next. A failure here has nobody left to be told.
        let _ = self.stream.synchronize();
    }
}

impl Instance {
    fn new(
        stream: &Arc<CudaStream>,
        module: &Module,
        plan: &GpuPlan,
        weights: &CudaSlice<u8>,
    ) -> Result<Self, CudaError> {
        let arena = reserve(stream, plan.arena_bytes, "activations")?;
        let (arena_base, weights_base) = (arena.device_ptr(stream).0, weights.device_ptr(stream).0);
        let address = |argument: &Argument| match argument.memory {
            Memory::Arena => arena_base + argument.offset as u64,
            Memory::Weights => weights_base + argument.offset as u64,
        };
        let launches: Vec<Launch> = plan
            .steps
            .iter()
            .map(|step| {
                let launch = plan.launch(step);
                Launch {
                    kernel: step.kernel,
                    grid: launch.grid.map(|extent| u32::try_from(extent).expect("checked when lowered")),
                    threads: launch.threads as u32,
                    arguments: step.arguments.iter().map(address).collect(),
                }
            })
            .collect();
        let graph = capture(stream, module, &launches)?;
        Ok(Instance { graph, launches, arena })
    }
}

/// Memory of the device, all zeros.
fn reserve(stream: &Arc<CudaStream>, bytes: usize, what: &str) -> Result<CudaSlice<u8>, CudaError> {
    // Empty allocations are refused.
    stream.alloc_zeros::<u8>(bytes.max(1)).map_err(doing(format!("reserve {bytes} bytes for {what}")))
}

fn capture(stream: &Arc<CudaStream>, module: &Module, launches: &[Launch]) -> Result<CudaGraph, CudaError> {
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).map_err(doing("capture a graph"))?;
    let recorded = launches.iter().try_for_each(|launch| enqueue(stream, module, launch));
    // A capture is ended also where a launch failed, and that failure is the one told.
    let flags = CUgraphInstantiate_flags(0);
    let graph = stream.end_capture(flags).map_err(doing("make a graph of the launches"));
    recorded?;
    let lost = DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    graph?.ok_or(lost).map_err(doing("capture a graph"))
}

fn enqueue(stream: &CudaStream, module: &Module, launch: &Launch) -> Result<(), CudaError> {
    let mut arguments: Vec<*mut c_void> =
        launch.arguments.iter().map(|address| std::ptr::from_ref(address).cast_mut().cast()).collect();
    let [x, y, z] = launch.grid;
    let kernel = module.kernels[launch.kernel];
    // SAFETY: the kernel is of a loaded module and takes as many 64-bit pointers as the plan lists, each of which the
    // driver copies before the call returns; they point into the arena and the weights, which live as long as the
    // executable, and no kernel reaches beyond the bytes that the plan gives for them.
    unsafe {
        result::launch_kernel(
            kernel,
            (x, y, z),
            (launch.threads, 1, 1),
            0,
            stream.cu_stream(),
            &mut arguments,
        )
    }
    .map_err(doing("launch a kernel"))
}
