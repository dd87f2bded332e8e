//! The server: both transports on one port, as jsonrpsee does it

use core::time::Duration;

use jsonrpsee::RpcModule;
use jsonrpsee::core::SubscriptionResult;
use jsonrpsee::server::{PendingSubscriptionSink, Server, SubscriptionMessage};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::value::{RawValue, Value, to_raw_value};
use tokio::io::AsyncReadExt;

use crate::{DIVIDE_BY_ZERO, Failure, OWN_ERROR};

type Answer<T> = Result<T, ErrorObjectOwned>;

pub(crate) async fn until_stdin_ends() -> Result<(), Failure> {
    let server = Server::builder().build("127.0.0.1:0").await?;
    println!("LISTEN {}", server.local_addr()?.port());
    let handle = server.start(methods()?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    handle.stop()?;
    // A client that stays would hold the server open.
    let _ = tokio::time::timeout(Duration::from_secs(1), handle.stopped()).await;
    Ok(())
}

fn methods() -> Result<RpcModule<()>, Failure> {
    let mut module = RpcModule::new(());
    module.register_method("echo", |params, (), _| echo(&params))?;
    module.register_method("upper", |params, (), _| -> Answer<String> {
        Ok(params.one::<String>()?.to_uppercase())
    })?;
    module.register_async_method("sleep", |params, _, _| async move {
        let ms: u64 = params.one()?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<_, ErrorObjectOwned>(format!("slept {ms} ms"))
    })?;
    module.register_method("fail", |params, (), _| -> Answer<()> {
        Err(ErrorObjectOwned::owned(OWN_ERROR.0, OWN_ERROR.1, Some(echo(&params)?)))
    })?;
    module.register_method("big", |params, (), _| -> Answer<String> { Ok("x".repeat(params.one()?)) })?;
    module.register_method("Arith.Multiply", |params, (), _| -> Answer<i64> {
        let (a, b) = operands(&params)?;
        Ok(a * b)
    })?;
    module.register_method("Arith.Divide", |params, (), _| -> Answer<Value> {
        let (a, b) = operands(&params)?;
        if b == 0 {
            return Err(ErrorObjectOwned::owned(DIVIDE_BY_ZERO.0, DIVIDE_BY_ZERO.1, None::<()>));
        }
        Ok(serde_json::json!({ "Quo": a / b, "Rem": a % b }))
    })?;
    module.register_subscription("subscribe_ticks", "ticks", "unsubscribe_ticks", |_, pending, _, _| {
        ticks(pending)
    })?;
    Ok(module)
}

fn echo(params: &Params<'_>) -> Answer<Box<RawValue>> {
    params.parse()
}

fn operands(params: &Params<'_>) -> Answer<(i64, i64)> {
    let given: Value = params.parse()?;
    let argument = given.get(0).unwrap_or(&given);
    let operand = |name: &str| argument.get(name).and_then(Value::as_i64);
    operand("A").zip(operand("B")).ok_or_else(|| jsonrpsee::types::ErrorCode::InvalidParams.into())
}

/// Counts from 0 until the subscriber has gone
async fn ticks(pending: PendingSubscriptionSink) -> SubscriptionResult {
    let sink = pending.accept().await?;
    for tick in 0_u64.. {
        let message: SubscriptionMessage = to_raw_value(&tick)?.into();
        if sink.send(message).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
