//! FlyRPC for any async runtime: peers, routers, formats and the connection driver

#![forbid(unsafe_code)]
