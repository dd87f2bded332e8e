//! The service `Arith`, as in the documentation of Go's net/rpc

use flyrpc_tokio::{RemoteError, service};
use serde::{Deserialize, Serialize};

/// Two numbers, as an object or in order
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Args {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Quotient {
    quo: i64,
    rem: i64,
}

/// A list that comes as it is, is the argument too
#[service(params = "single")]
pub(crate) trait Arith {
    fn multiply(&self, args: Args) -> Result<i64, RemoteError>;
    fn divide(&self, args: Args) -> Result<Quotient, RemoteError>;
    fn sum(&self, numbers: Vec<i64>) -> Result<i64, RemoteError>;
}

pub(crate) struct Calculator;

impl Arith for Calculator {
    fn multiply(&self, Args { a, b }: Args) -> Result<i64, RemoteError> {
        a.checked_mul(b).ok_or_else(overflow)
    }

    fn divide(&self, Args { a, b }: Args) -> Result<Quotient, RemoteError> {
        if b == 0 {
            return Err("divide by zero".into());
        }
        let quo = a.checked_div(b).ok_or_else(overflow)?;
        Ok(Quotient { quo, rem: a % b })
    }

    fn sum(&self, numbers: Vec<i64>) -> Result<i64, RemoteError> {
        numbers.into_iter().try_fold(0, i64::checked_add).ok_or_else(overflow)
    }
}

fn overflow() -> RemoteError {
    RemoteError::new("overflow")
}
