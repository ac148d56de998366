//! Faults on request.

/// What fails, from `KILN_DRIVER_FAULT`: words with commas between them, some with a number behind `=`.
#[derive(Default)]
pub struct Faults {
    /// `init`: the driver does not fit the system.
    pub init: bool,
    /// `no_device`: there is a driver and no GPU.
    pub no_device: bool,
    /// `memory=N`: the device has N bytes.
    pub memory: Option<usize>,
    /// `compile`: the JIT compiler refuses the PTX, with a log.
    pub compile: bool,
    /// `function`: a kernel is not found.
    pub function: bool,
    /// `launch`: a launch is refused.
    pub launch: bool,
    /// `graph`: a captured graph cannot be instantiated.
    pub graph: bool,
    /// `kernel=N`: the kernel launched after N others fails while it runs, which is told when it is waited for.
    pub kernel: Option<usize>,
    /// `event`: no event can be made.
    pub event: bool,
}

impl Faults {
    pub fn from_environment() -> Faults {
        let text = std::env::var("KILN_DRIVER_FAULT").unwrap_or_default();
        let mut faults = Faults::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, number) = word.split_once('=').unwrap_or((word, "0"));
            let number = || number.parse().expect("KILN_DRIVER_FAULT has numbers behind '='");
            match name {
                "init" => faults.init = true,
                "no_device" => faults.no_device = true,
                "memory" => faults.memory = Some(number()),
                "compile" => faults.compile = true,
                "function" => faults.function = true,
                "launch" => faults.launch = true,
                "graph" => faults.graph = true,
                "kernel" => faults.kernel = Some(number()),
                "event" => faults.event = true,
                _ => panic!("KILN_DRIVER_FAULT knows no '{name}'"),
            }
        }
        faults
    }
}
