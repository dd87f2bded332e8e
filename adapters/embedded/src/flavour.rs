//! How much of FlyRPC is spoken

use flyrpc_core::Dialect;
use flyrpc_core::fly::{Base, Control, Raw, Zip};

/// What a node speaks: [`Base`] or [`Raw`]
pub trait Flavour: Dialect<Key = u16, Meta = Zip, Control = Control> + Default + sealed::Sealed {}

impl Flavour for Base {}
impl Flavour for Raw {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Base {}
    impl Sealed for super::Raw {}
}
