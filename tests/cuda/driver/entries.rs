//! The entry points, with the names, arguments and answers of NVIDIA's driver API.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use crate::emulator::Module;
use crate::pointers::{Arguments, Destination, List, Out, Source, Text};
use crate::report;
use crate::state::{CONTEXT, CURRENT, DEFAULT_STREAM, Driver, Handle};
use crate::status::{Outcome, Status};
use crate::work::{Event, Queued, Stream, Work};

/// `CUdevice_attribute`
const COMPUTE_CAPABILITY_MAJOR: c_uint = 75;
const COMPUTE_CAPABILITY_MINOR: c_uint = 76;
const MULTIPROCESSOR_COUNT: c_uint = 16;
const L2_CACHE_SIZE: c_uint = 38;
const MEMORY_POOLS_SUPPORTED: c_uint = 115;

/// `CUjit_option`
const JIT_ERROR_LOG_BUFFER: c_uint = 5;
const JIT_ERROR_LOG_BUFFER_SIZE_BYTES: c_uint = 6;

/// `CU_EVENT_DISABLE_TIMING`
const EVENT_DISABLE_TIMING: c_uint = 2;

/// `CU_STREAM_CAPTURE_MODE_RELAXED`, the last of them.
const CAPTURE_MODE_RELAXED: c_uint = 2;

/// Defines functions that count their calls and refuse to work before `cuInit`.
macro_rules! entries {
    ($($name:ident($driver:ident $(, $argument:ident: $type:ty)*) $body:block)*) => {$(
        // SAFETY: programs that load this library as the driver mean the driver's function by this name, and there is
        // no other of it in their process.
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> u32 {
            let answer = Driver::with(|$driver| -> Outcome {
                *$driver.report.calls.entry(stringify!($name)).or_default() += 1;
                if !$driver.initialised && stringify!($name) != "cuInit" {
                    $driver.violation(concat!(stringify!($name), " before cuInit"));
                    return Err(Status::NOT_INITIALIZED);
                }
                $body
            });
            answer.err().unwrap_or(Status::SUCCESS).0
        }
    )*};
}

/// A name for an error, or nothing for what is none.
fn describe(code: u32, place: Out<*const c_char>, words: bool) -> u32 {
    let text = Status::describe(code).map(|(name, text)| if words { text } else { name });
    let put = place.put(text.map_or(std::ptr::null(), |text| text.as_ptr()));
    if text.is_some() && put.is_ok() { 0 } else { Status::INVALID_VALUE.0 }
}

// These two may be asked at any time, also while the driver's state is locked.
// SAFETY: as for the other entry points.
#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(code: u32, place: Out<*const c_char>) -> u32 {
    describe(code, place, false)
}

// SAFETY: as for the other entry points.
#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(code: u32, place: Out<*const c_char>) -> u32 {
    describe(code, place, true)
}

entries! {
    cuInit(driver, flags: c_uint) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if !driver.initialised {
            driver.initialised = true;
            report::write_at_exit();
        }
        match (driver.faults.init, driver.faults.no_device) {
            (true, _) => Err(Status::DRIVER_MISMATCH),
            (_, true) => Err(Status::NO_DEVICE),
            _ => Ok(()),
        }
    }

    cuDeviceGetCount(driver, count: Out<c_int>) { count.put(c_int::from(!driver.faults.no_device)) }

    cuDeviceGet(_driver, device: Out<c_int>, ordinal: c_int) {
        if ordinal == 0 { device.put(0) } else { Err(Status::INVALID_DEVICE) }
    }

    cuDeviceGetName(_driver, name: Destination, room: c_int, device: c_int) {
        only_device(device)?;
        name.fill_text("simulated device", usize::try_from(room).unwrap_or(0))
    }

    cuDeviceGetAttribute(_driver, value: Out<c_int>, attribute: c_uint, device: c_int) {
        only_device(device)?;
        value.put(match attribute {
            COMPUTE_CAPABILITY_MAJOR => capability() as c_int / 10,
            COMPUTE_CAPABILITY_MINOR => capability() as c_int % 10,
            MULTIPROCESSOR_COUNT => 8,
            // So little that a test sees activations take turns.
            L2_CACHE_SIZE => 16 << 10,
            MEMORY_POOLS_SUPPORTED => c_int::from(std::env::var("KILN_DRIVER_POOLS").as_deref() != Ok("0")),
            _ => return Err(Status::INVALID_VALUE),
        })
    }

    cuDevicePrimaryCtxRetain(driver, context: Out<Handle>, device: c_int) {
        only_device(device)?;
        driver.retained += 1;
        context.put(CONTEXT)
    }

    cuDevicePrimaryCtxRelease_v2(driver, device: c_int) {
        only_device(device)?;
        driver.retained = driver.retained.checked_sub(1).ok_or(Status::INVALID_CONTEXT)?;
        if driver.retained == 0 {
            for (kind, count) in driver.alive() {
                if count > 0 {
                    driver.violation(format!("the context is released with {count} {kind} in it"));
                }
            }
        }
        Ok(())
    }

    cuCtxGetCurrent(_driver, context: Out<Handle>) { context.put(CURRENT.get()) }

    cuCtxSetCurrent(_driver, context: Handle) {
        if context != CONTEXT && context != 0 {
            return Err(Status::INVALID_CONTEXT);
        }
        CURRENT.set(context);
        Ok(())
    }

    cuStreamCreate(driver, stream: Out<Handle>, _flags: c_uint) {
        driver.in_context()?;
        let handle = driver.new_handle();
        driver.streams.insert(handle, Stream::default());
        driver.report.streams += 1;
        stream.put(handle)
    }

    cuStreamSynchronize(driver, stream: Handle) {
        driver.in_context()?;
        driver.wait(stream)
    }

    cuStreamDestroy_v2(driver, stream: Handle) {
        if stream == DEFAULT_STREAM {
            return Err(Status::INVALID_HANDLE);
        }
        // A driver finishes the work first.
        let done = driver.wait(stream);
        driver.remove("stream", |driver| &mut driver.streams, stream)?;
        done
    }

    cuStreamBeginCapture_v2(driver, stream: Handle, mode: c_uint) {
        driver.in_context()?;
        driver.not_capturing()?;
        if stream == DEFAULT_STREAM || mode > CAPTURE_MODE_RELAXED {
            return Err(Status::CAPTURE_UNSUPPORTED);
        }
        driver.stream(stream)?.capture = Some(Vec::new());
        Ok(())
    }

    cuStreamEndCapture(driver, stream: Handle, graph: Out<Handle>) {
        driver.in_context()?;
        let launches = driver.stream(stream)?.capture.take().ok_or(Status::INVALID_VALUE)?;
        let handle = driver.new_handle();
        driver.graphs.insert(handle, launches);
        graph.put(handle)
    }

    cuGraphInstantiateWithFlags(driver, executable: Out<Handle>, graph: Handle, flags: c_ulonglong) {
        driver.in_context()?;
        if driver.faults.graph {
            return Err(Status::OUT_OF_MEMORY);
        }
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let launches = driver.graphs.get(&graph).cloned().ok_or(Status::INVALID_HANDLE)?;
        let handle = driver.new_handle();
        driver.executables.insert(handle, launches);
        driver.report.graphs += 1;
        executable.put(handle)
    }

    cuGraphLaunch(driver, executable: Handle, stream: Handle) {
        driver.in_context()?;
        driver.not_capturing()?;
        let Some(launches) = driver.executables.get(&executable).cloned() else {
            driver.violation("what is launched is no executable graph");
            return Err(Status::INVALID_HANDLE);
        };
        launches.into_iter().try_for_each(|launch| driver.enqueue(stream, Work::Launch(launch)))
    }

    cuGraphExecDestroy(driver, executable: Handle) {
        driver.remove("executable graph", |driver| &mut driver.executables, executable).map(drop)
    }

    cuGraphDestroy(driver, graph: Handle) {
        driver.remove("graph", |driver| &mut driver.graphs, graph).map(drop)
    }

    cuEventCreate(driver, event: Out<Handle>, flags: c_uint) {
        driver.in_context()?;
        if driver.faults.event {
            return Err(Status::OUT_OF_MEMORY);
        }
        let handle = driver.new_handle();
        let timed = flags & EVENT_DISABLE_TIMING == 0;
        driver.events.insert(handle, Event { timed, recorded: false, reached: None });
        event.put(handle)
    }

    cuEventRecord(driver, event: Handle, stream: Handle) {
        driver.in_context()?;
        let object = driver.event(event)?;
        (object.recorded, object.reached) = (true, None);
        driver.enqueue(stream, Work::Record(event))
    }

    cuEventSynchronize(driver, event: Handle) {
        driver.in_context()?;
        driver.not_capturing()?;
        if !driver.event(event)?.recorded {
            return Ok(());
        }
        let holds = |stream: &Stream| stream.pending.iter().any(|work| matches!(work, Work::Record(of) if *of == event));
        let stream = driver.streams.iter().find(|(_, stream)| holds(stream)).map(|(&handle, _)| handle);
        stream.map_or(Ok(()), |stream| driver.wait(stream))
    }

    cuEventElapsedTime(driver, ms: Out<f32>, start: Handle, end: Handle) {
        driver.in_context()?;
        let mut times = [None; 2];
        for (time, event) in times.iter_mut().zip([start, end]) {
            let event = driver.event(event)?;
            if !event.timed || !event.recorded {
                return Err(Status::INVALID_HANDLE);
            }
            *time = event.reached;
        }
        let [Some(start), Some(end)] = times else { return Err(Status::NOT_READY) };
        // A driver's clock ticks twice a microsecond.
        ms.put((end.saturating_duration_since(start).as_secs_f32() * 1e3).max(5e-4))
    }

    cuEventDestroy_v2(driver, event: Handle) {
        driver.remove("event", |driver| &mut driver.events, event).map(drop)
    }

    cuMemAlloc_v2(driver, address: Out<u64>, bytes: usize) {
        let new = driver.allocate(bytes)?;
        address.put(new)
    }

    cuMemAllocAsync(driver, address: Out<u64>, bytes: usize, stream: Handle) {
        driver.stream(stream)?;
        let new = driver.allocate(bytes)?;
        address.put(new)
    }

    cuMemFree_v2(driver, address: u64) {
        driver.not_capturing()?;
        // Freeing waits for all that runs.
        let streams: Vec<Handle> = driver.streams.keys().copied().collect();
        let waited: Vec<Outcome> = streams.into_iter().map(|stream| driver.wait(stream)).collect();
        driver.free(address)?;
        waited.into_iter().collect()
    }

    cuMemFreeAsync(driver, address: u64, stream: Handle) {
        driver.not_capturing()?;
        driver.enqueue(stream, Work::Free(address))?;
        driver.broken.map_or(Ok(()), Err)
    }

    cuMemsetD8Async(driver, address: u64, value: u8, bytes: usize, stream: Handle) {
        driver.in_context()?;
        driver.locate(address, bytes)?;
        driver.enqueue(stream, Work::Copy { to: address, bytes: vec![value; bytes] })
    }

    // From memory that is not pinned, a driver has taken the bytes when the call returns.
    cuMemcpyHtoDAsync_v2(driver, address: u64, from: Source, bytes: usize, stream: Handle) {
        driver.in_context()?;
        driver.locate(address, bytes)?;
        driver.enqueue(stream, Work::Copy { to: address, bytes: from.bytes(bytes)? })
    }

    // To memory that is not pinned, a driver has copied when the call returns.
    cuMemcpyDtoHAsync_v2(driver, to: Destination, address: u64, bytes: usize, stream: Handle) {
        driver.in_context()?;
        driver.wait(stream)?;
        fetch(driver, to, address, bytes)
    }

    cuMemcpyHtoD_v2(driver, address: u64, from: Source, bytes: usize) {
        driver.in_context()?;
        driver.enqueue(DEFAULT_STREAM, Work::Copy { to: address, bytes: from.bytes(bytes)? })?;
        driver.wait(DEFAULT_STREAM)
    }

    cuMemcpyDtoH_v2(driver, to: Destination, address: u64, bytes: usize) {
        driver.in_context()?;
        driver.wait(DEFAULT_STREAM)?;
        fetch(driver, to, address, bytes)
    }

    cuModuleLoadData(driver, module: Out<Handle>, text: Text) {
        let handle = load(driver, text.get()?).map_err(|(status, _)| status)?;
        module.put(handle)
    }

    cuModuleLoadDataEx(
        driver, module: Out<Handle>, text: Text, count: c_uint, options: List<c_uint>, values: List<usize>
    ) {
        let options = options.values(count as usize)?.into_iter().zip(values.values(count as usize)?);
        let (mut buffer, mut room) = (None, 0);
        for (option, value) in options {
            match option {
                JIT_ERROR_LOG_BUFFER => buffer = Some(value),
                JIT_ERROR_LOG_BUFFER_SIZE_BYTES => room = value,
                _ => driver.violation(format!("option {option} of the JIT compiler, which the simulation lacks")),
            }
        }
        match load(driver, text.get()?) {
            Ok(handle) => module.put(handle),
            Err((status, log)) => {
                buffer.map_or(Ok(()), |buffer| Destination::at(buffer).fill_text(&log, room))?;
                Err(status)
            }
        }
    }

    cuModuleGetFunction(driver, function: Out<Handle>, module: Handle, name: Text) {
        driver.in_context()?;
        let name = name.get()?.to_owned();
        let Some(of) = driver.modules.get(&module) else { return Err(Status::INVALID_HANDLE) };
        if of.kernel(&name).is_none() || driver.faults.function {
            return Err(Status::NOT_FOUND);
        }
        let handle = driver.new_handle();
        driver.functions.insert(handle, (module, name));
        function.put(handle)
    }

    cuModuleUnload(driver, module: Handle) {
        driver.remove("module", |driver| &mut driver.modules, module)?;
        driver.functions.retain(|_, (of, _)| *of != module);
        Ok(())
    }

    cuLaunchKernel(
        driver, function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint,
        block_z: c_uint, shared: c_uint, stream: Handle, arguments: Arguments, extra: usize
    ) {
        driver.in_context()?;
        if driver.faults.launch {
            return Err(Status::OUT_OF_RESOURCES);
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let kernel = driver.functions.get(&function).and_then(|(module, name)| driver.modules.get(module)?.kernel(name));
        let Some(kernel) = kernel else {
            driver.violation("what is launched is no kernel of a loaded module");
            return Err(Status::INVALID_HANDLE);
        };
        if extra != 0 || kernel.parameters.iter().any(|parameter| parameter.bytes != 8) || grid.contains(&0) {
            return Err(Status::INVALID_VALUE);
        }
        let arguments = arguments.doubles(kernel.parameters.len())?;
        driver.enqueue(stream, Work::Launch(Queued { function, grid, block, shared, arguments }))
    }
}

fn only_device(device: c_int) -> Outcome {
    if device == 0 { Ok(()) } else { Err(Status::INVALID_DEVICE) }
}

/// Ten times the major number, and the minor one.
fn capability() -> u32 {
    let text = std::env::var("KILN_DRIVER_CAPABILITY");
    text.map_or(80, |text| text.parse().expect("KILN_DRIVER_CAPABILITY is a number"))
}

/// Compiles PTX; the compiler's messages come with an error.
fn load(driver: &mut Driver, text: &str) -> Result<Handle, (Status, String)> {
    let plain = |status| (status, String::new());
    driver.in_context().map_err(plain)?;
    driver.not_capturing().map_err(plain)?;
    let refuse = |log: String| Err((Status::INVALID_PTX, log));
    if driver.faults.compile {
        return refuse("ptxas application ptx input, line 1; fatal   : refused on request".to_owned());
    }
    let module = match Module::parse(text) {
        Ok(module) => module,
        Err(error) => return refuse(format!("ptxas application ptx input, {error}")),
    };
    let target: Option<u32> = module.target.strip_prefix("sm_").and_then(|number| number.parse().ok());
    if target.is_none_or(|target| target > capability()) {
        return refuse(format!("PTX of {} is newer than the device", module.target));
    }
    let handle = driver.new_handle();
    driver.modules.insert(handle, module);
    Ok(handle)
}

/// Copies words to the host.
fn fetch(driver: &mut Driver, to: Destination, address: u64, bytes: usize) -> Outcome {
    let (buffer, offset) = driver.locate(address, bytes)?;
    if !offset.is_multiple_of(4) || !bytes.is_multiple_of(4) {
        driver.violation("the simulation copies whole words to the host");
        return Err(Status::INVALID_VALUE);
    }
    match driver.memory.read_floats(buffer, offset, bytes / 4) {
        Ok(words) => to.fill(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()),
        Err(fault) => {
            driver.violation(format!("the host reads what nothing wrote: {fault}"));
            Err(Status::INVALID_VALUE)
        }
    }
}
