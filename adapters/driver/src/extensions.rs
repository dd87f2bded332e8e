//! Values found by their type

use core::any::{Any, TypeId, type_name};
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Value = Arc<dyn Any + Send + Sync>;

/// Values found by their type, one of each: what all connections of a router share
///
/// ```
/// use flyrpc_driver::Extensions;
///
/// let mut shared = Extensions::new();
/// assert!(shared.insert(7_u32).is_none());
/// assert_eq!(shared.get::<u32>().as_deref(), Some(&7));
/// assert!(shared.get::<String>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Extensions {
    // A handful at the most: looking at each is quicker than hashing
    values: Vec<(TypeId, &'static str, Value)>,
}

impl Extensions {
    /// None yet, and no heap
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Puts a value in; gives back the one of its type that was there
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Option<Arc<T>> {
        self.put(Arc::new(value))
    }

    /// Takes the value of this type out
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<Arc<T>> {
        let at = self.position::<T>()?;
        self.values.swap_remove(at).2.downcast().ok()
    }

    /// The value of this type
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let at = self.position::<T>()?;
        Arc::clone(&self.values[at].2).downcast().ok()
    }

    /// The value of this type, for as long as these are borrowed
    #[must_use]
    pub fn get_ref<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let at = self.position::<T>()?;
        self.values[at].2.downcast_ref()
    }

    /// Is there nothing?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Those of `other` too; of one type, the other's
    pub(crate) fn extend(&mut self, other: &Self) {
        for (id, name, value) in &other.values {
            match self.values.iter_mut().find(|(at, _, _)| at == id) {
                Some(place) => place.2 = Arc::clone(value),
                None => self.values.push((*id, name, Arc::clone(value))),
            }
        }
    }

    fn put<T: Send + Sync + 'static>(&mut self, value: Arc<T>) -> Option<Arc<T>> {
        let before = self.remove::<T>();
        self.values.push((TypeId::of::<T>(), type_name::<T>(), value));
        before
    }

    fn position<T: 'static>(&self) -> Option<usize> {
        let wanted = TypeId::of::<T>();
        self.values.iter().position(|(id, _, _)| *id == wanted)
    }
}

/// The types only
impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(_, name, _)| name)).finish()
    }
}

/// What one connection keeps between its requests: values found by their type, one of each
///
/// Any number of handlers may use it at once. It takes no heap until the first value. Values are shared, so one that
/// changes holds its own lock or atomics.
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
/// use flyrpc_driver::Session;
///
/// let session = Session::new();
/// session.get_or_insert_with(|| AtomicU32::new(0)).fetch_add(1, Ordering::Relaxed);
/// session.get_or_insert_with(|| AtomicU32::new(0)).fetch_add(1, Ordering::Relaxed);
/// assert_eq!(session.get::<AtomicU32>().unwrap().load(Ordering::Relaxed), 2);
/// ```
#[derive(Default)]
pub struct Session {
    values: Mutex<Extensions>,
}

impl Session {
    /// An empty one
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Mutex::new(Extensions::new()) }
    }

    /// Puts a value in; gives back the one of its type that was there
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.lock().insert(value)
    }

    /// The value of this type
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.lock().get()
    }

    /// The value of this type; `make` makes it when there is none
    ///
    /// `make` may use the session itself. When two threads come at once both may make one; the first to be put in stays.
    pub fn get_or_insert_with<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(value) = self.get() {
            return value;
        }
        let made = Arc::new(make());
        let mut values = self.lock();
        if let Some(value) = values.get() {
            return value;
        }
        values.put(Arc::clone(&made));
        made
    }

    /// Takes the value of this type out
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.lock().remove()
    }

    /// No code but this file's runs under the lock, so a panic elsewhere leaves the values whole
    fn lock(&self) -> MutexGuard<'_, Extensions> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The types only
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session ")?;
        self.lock().fmt(f)
    }
}
