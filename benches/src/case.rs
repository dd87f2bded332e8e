//! One operation to be measured

use core::fmt;
use core::hint::black_box;

/// Does its operation this many times
pub type Run = Box<dyn FnMut(u64)>;

/// One operation to be measured
pub struct Case {
    /// What it is compared with: the cases of a group stand together, each group's `memcpy` first
    pub group: &'static str,
    /// Unique within its group
    pub name: String,
    /// Operations to tell two runs apart by; short where the operation is long
    pub operations: u64,
    /// What it must not pass
    pub target: Option<Target>,
    build: Box<dyn Fn() -> Run>,
}

/// What a case must not pass, in instructions
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// So many
    Instructions(u32),
    /// So many times what its group's `memcpy` takes
    Memcpy(f64),
    /// So many times what another case of its group takes
    Times(f64, &'static str),
}

/// The name of each group's yardstick
pub const MEMCPY: &str = "memcpy";

/// Keeps what `memcpy` reads and what it writes from lying at the same place of their pages, which doubles its time
const LEAD: usize = 1088;

impl Case {
    /// A case that prepares itself with `build`
    pub(crate) fn new<R: FnMut(u64) + 'static>(
        group: &'static str,
        name: impl Into<String>,
        build: impl Fn() -> R + 'static,
    ) -> Self {
        let build = Box::new(move || Box::new(build()) as Run);
        Self { group, name: name.into(), operations: 10_000, target: None, build }
    }

    /// The yardstick of a group: `payload` copied to the end of a vector, whose length is then set back
    pub(crate) fn memcpy(group: &'static str, payload: Vec<u8>) -> Self {
        Self::new(group, MEMCPY, move || {
            let (payload, mut out) = (payload.clone(), vec![0; LEAD]);
            out.reserve(payload.len());
            move |times| {
                for _ in 0..times {
                    out.truncate(LEAD);
                    out.extend_from_slice(black_box(&payload));
                    black_box(&out);
                }
            }
        })
    }

    pub(crate) fn operations(mut self, operations: u64) -> Self {
        self.operations = operations;
        self
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Prepares it; what this costs is not part of the operation
    #[must_use]
    pub fn build(&self) -> Run {
        (self.build)()
    }

    /// Group and name
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instructions(most) => write!(f, "{most}"),
            Self::Memcpy(times) => write!(f, "{times} x memcpy"),
            Self::Times(times, name) => write!(f, "{times} x `{name}`"),
        }
    }
}
