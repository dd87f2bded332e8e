//! Dropping anything at any point harms nothing else
//!
//! Every future of the API is dropped after each number of polls, with each number of steps of the others between them, over
//! wires that take one byte at a time and over wide ones. Afterwards the connection holds nothing, and everybody else gets
//! exactly the answer that is theirs.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

mod common;

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Gate, Hand, Hold, Wire, block_on, kill, pause, reset, run, set_wire, step};
use flyrpc_driver::runtime::Runtime;
use flyrpc_driver::{
    Client, CloseReason, Connected, Context, Error, Limits, Overload, Peer, Refusal, Response, Server,
    ServerHandle, Stage,
};

const FAR: Duration = Duration::from_secs(100_000);

#[derive(Clone, Copy, Debug)]
struct Setting {
    wire: Wire,
    send_buffer: usize,
    /// Do the ends know of each other that they understand cancels?
    hello: bool,
    /// Others that call at the same time
    others: usize,
}

const NARROW: Wire = Wire { capacity: 4, at_a_time: 1, writer: false };
const ODD: Wire = Wire { capacity: 7, at_a_time: 3, writer: true };

/// Every combination that differs in what is waited for
fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for wire in [NARROW, ODD, Wire::WIDE] {
        for send_buffer in [1, 4 << 20] {
            for hello in [false, true] {
                for others in [0, 3] {
                    all.push(Setting { wire, send_buffer, hello, others });
                }
            }
        }
    }
    all
}

/// A client and a server on one connection, and others that call
struct Scene {
    client: Connected,
    server: ServerHandle<Hand>,
    at_server: Peer,
    gate: Gate,
    others: Arc<Mutex<Vec<(usize, bool)>>>,
    setting: Setting,
}

const ADDRESS: &str = "scene:1";

impl Scene {
    fn new(setting: Setting) -> Self {
        reset();
        set_wire(setting.wire);
        let gate = Gate::default();
        let (at_gate, at_both) = (gate.clone(), gate.clone());
        let limits = Limits::new().call_timeout(FAR);
        let server = Server::<Hand>::new()
            .limits(limits.clone())
            .send_buffer(setting.send_buffer, Overload::Wait)
            .handle("echo", |payload: Bytes| payload)
            .handle("later", |payload: Bytes| async move {
                pause(3).await;
                payload
            })
            .handle("gate", move |payload: Bytes| {
                let gate = at_gate.clone();
                async move {
                    gate.wait().await;
                    payload
                }
            })
            .handle("either", move |context: Context<Peer>| {
                let gate = at_both.clone();
                async move {
                    let (mut cancelled, mut open) = (Box::pin(context.cancelled()), Box::pin(gate.wait()));
                    poll_fn(|cx| match cancelled.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(()),
                        Poll::Pending => open.as_mut().poll(cx),
                    })
                    .await;
                }
            })
            .handle("back", |context: Context<Peer>| async move {
                let name = context.peer().call("name", ()).await?;
                Ok::<_, Error>(name)
            });
        let server = block_on(server.listen(ADDRESS)).unwrap();
        let client = Client::<Hand>::new()
            .limits(limits)
            .send_buffer(setting.send_buffer, Overload::Wait)
            .handle("name", async || {
                pause(2).await;
                "Ada"
            });
        let client = block_on(client.connect_within(ADDRESS, FAR)).unwrap();
        run();
        let at_server = server.peers().pop().unwrap();
        if setting.hello {
            block_on(client.hello()).unwrap();
            block_on(at_server.hello()).unwrap();
        }
        run();
        let scene = Self { client, server, at_server, gate, others: Arc::default(), setting };
        for i in 0..setting.others {
            scene.call_beside(i);
        }
        scene
    }

    /// Calls from a task of its own
    fn call_beside(&self, i: usize) {
        let (peer, others) = (self.client.peer(), Arc::clone(&self.others));
        Hand::spawn(Box::pin(async move {
            let payload = format!("one of the others: {i}");
            let code = if i.is_multiple_of(2) { "echo" } else { "later" };
            let answer = peer.call(code, &payload).await;
            others.lock().unwrap().push((i, answer == Ok(payload.into())));
        }));
    }

    /// Everything else is as if the dropped future had never been
    fn check(self, at: &str) {
        self.gate.open();
        run();
        let mut others = core::mem::take(&mut *self.others.lock().unwrap());
        others.sort_unstable();
        let wanted: Vec<_> = (0..self.setting.others).map(|i| (i, true)).collect();
        assert_eq!(others, wanted, "{at}: the others' answers");
        assert_eq!(block_on(self.client.call("echo", "after")), Ok("after".into()), "{at}");
        assert_eq!(block_on(self.client.call("later", "after")), Ok("after".into()), "{at}");
        assert_eq!(block_on(self.at_server.call("name", ())), Ok("Ada".into()), "{at}");
        run();
        self.check_empty(at);
    }

    fn check_empty(&self, at: &str) {
        for (end, peer) in [("client", &*self.client), ("server", &self.at_server)] {
            let held = peer.internals();
            assert_eq!(peer.in_flight(), 0, "{at}: {end}");
            assert_eq!((held.calls, held.room, held.closers), (0, 0, 0), "{at}: {end}: {held:?}");
            assert_eq!((held.requests, held.unsent), (0, 0), "{at}: {end}: {held:?}");
            assert_eq!((held.turn, held.writing), (false, false), "{at}: {end}: {held:?}");
            let stats = peer.stats();
            let over = stats.answered + u64::from(stats.cancelled) + u64::from(stats.timed_out);
            assert_eq!(stats.calls, over, "{at}: {end}: {stats:?}");
            assert_eq!(stats.unknown_replies, 0, "{at}: {end}: {stats:?}");
        }
    }
}

type Victim<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Most polls after which a future is dropped, where it never ends by itself
const POLLS: usize = 12;

/// Drops what `start` makes after every number of polls, in every setting; gives back how often it was dropped
fn drop_everywhere(
    name: &str,
    ends: bool,
    start: impl for<'a> Fn(&'a Scene) -> Victim<'a>,
    check: impl Fn(Scene, &str),
) -> usize {
    let mut drops = 0;
    for setting in settings() {
        for steps in [0, 1, 2, 5, 1000] {
            let mut polls = 0;
            loop {
                let at =
                    format!("{name}, dropped after {polls} polls with {steps} steps after each, {setting:?}");
                let scene = Scene::new(setting);
                let mut victim = Hold::new(start(&scene));
                let mut ended = false;
                for _ in 0..polls {
                    ended = victim.poll().is_ready();
                    if ended {
                        break;
                    }
                    for _ in 0..steps {
                        step();
                    }
                }
                drop(victim);
                drops += 1;
                check(scene, &at);
                if ended || (polls >= POLLS && (!ends || steps == 0)) {
                    break;
                }
                assert!(polls < 3000, "{at}: it never ends");
                polls += if polls > 40 { 7 } else { 1 };
            }
        }
    }
    drops
}

/// Of one that leaves nothing behind
fn check_drops(name: &str, ends: bool, start: impl for<'a> Fn(&'a Scene) -> Victim<'a>) {
    let drops = drop_everywhere(name, ends, start, Scene::check);
    assert!(drops > 200, "{drops}");
}

#[test]
fn a_call_can_be_dropped_anywhere() {
    check_drops("call", true, |scene| {
        Box::pin(async { assert_eq!(scene.client.call("echo", "mine").await, Ok("mine".into())) })
    });
}

#[test]
fn a_call_with_a_slow_handler_can_be_dropped_anywhere() {
    check_drops("later", true, |scene| {
        Box::pin(async { assert_eq!(scene.client.call("later", "mine").await, Ok("mine".into())) })
    });
}

#[test]
fn a_call_whose_answer_comes_late_can_be_dropped_anywhere() {
    check_drops("gate", false, |scene| Box::pin(async { drop(scene.client.call("gate", "mine").await) }));
}

#[test]
fn a_call_whose_handler_watches_for_a_cancel_can_be_dropped_anywhere() {
    check_drops("either", false, |scene| Box::pin(async { drop(scene.client.call("either", "mine").await) }));
}

#[test]
fn a_call_whose_handler_calls_back_can_be_dropped_anywhere() {
    check_drops("back", true, |scene| {
        Box::pin(async { assert_eq!(scene.client.call("back", ()).await, Ok("Ada".into())) })
    });
}

#[test]
fn a_call_of_the_servers_can_be_dropped_anywhere() {
    check_drops("name", true, |scene| {
        Box::pin(async { assert_eq!(scene.at_server.call("name", "mine").await, Ok("Ada".into())) })
    });
}

#[test]
fn calls_with_typed_and_raw_answers_can_be_dropped_anywhere() {
    check_drops("typed", true, |scene| {
        Box::pin(async {
            assert_eq!(scene.client.call_as::<String>("echo", "mine").await, Ok("mine".into()))
        })
    });
    check_drops("raw", true, |scene| {
        let wanted = Response { code: String::new(), payload: "mine".into() };
        Box::pin(async { assert_eq!(scene.client.request("echo", "mine").await, Ok(wanted)) })
    });
}

#[test]
fn acked_and_plain_messages_can_be_dropped_anywhere() {
    check_drops("acked", true, |scene| Box::pin(scene.client.send_acked("echo", "mine").map_done()));
    check_drops("send", true, |scene| Box::pin(async { scene.client.send("note", "mine").await.unwrap() }));
}

#[test]
fn a_large_payload_can_be_dropped_anywhere() {
    let large = Bytes::from(vec![7; 40 << 10]);
    let wide = |scene: &Scene| scene.setting.wire.at_a_time > 3;
    check_drops("large", true, |scene| {
        let large = large.clone();
        Box::pin(async move {
            if wide(scene) {
                assert_eq!(scene.client.call("echo", &large).await, Ok(large));
            }
        })
    });
}

#[test]
fn a_ping_can_be_dropped_anywhere() {
    check_drops("ping", true, |scene| {
        Box::pin(async { assert_eq!(scene.client.ping(9, FAR).await.map(|pong| pong.len), Ok(9)) })
    });
}

#[test]
fn a_hello_can_be_dropped_anywhere() {
    check_drops("hello", true, |scene| {
        Box::pin(async {
            let _ = scene.client.hello().await.unwrap();
        })
    });
}

#[test]
fn waiting_for_the_end_can_be_dropped_anywhere() {
    check_drops("closed", false, |scene| {
        Box::pin(async {
            let _ = scene.client.closed().await;
        })
    });
    check_drops("wait", false, |scene| Box::pin(async { scene.server.wait().await }));
}

/// A future whose outcome does not matter
trait Done: Future + Sized {
    async fn map_done(self) {
        drop(self.await);
    }
}

impl<F: Future> Done for F {}

#[test]
fn connecting_can_be_dropped_anywhere() {
    drop_everywhere(
        "connect",
        true,
        |_| {
            Box::pin(async {
                let client = Client::<Hand>::new().connect_within(ADDRESS, FAR).await.unwrap();
                drop(client.call("echo", "mine").await);
            })
        },
        |scene, at| {
            run();
            assert_eq!(scene.server.connections(), 1, "{at}");
            scene.check(at);
        },
    );
}

#[test]
fn a_drain_goes_on_when_it_is_dropped() {
    drop_everywhere(
        "drain",
        false,
        |scene| {
            // It begins with the call.
            let draining = scene.client.drain(FAR);
            Box::pin(async { assert_eq!(draining.await, CloseReason::Drained) })
        },
        |scene, at| {
            scene.gate.open();
            assert_eq!(block_on(scene.client.closed()), CloseReason::Drained, "{at}");
            block_on(scene.at_server.closed());
            run();
            assert_eq!(scene.server.connections(), 0, "{at}");
            assert_eq!(scene.others.lock().unwrap().len(), scene.setting.others, "{at}");
            scene.check_ended(at);
        },
    );
}

impl Scene {
    fn check_ended(&self, at: &str) {
        for peer in [&*self.client, &self.at_server] {
            assert_eq!((peer.in_flight(), peer.state()), (0, Stage::Closed), "{at}");
            let held = peer.internals();
            let all = (held.calls, held.room, held.closers, held.requests);
            assert_eq!(all, (0, 0, 0, 0), "{at}: {held:?}");
        }
    }
}

#[test]
fn shutting_down_can_be_dropped_anywhere() {
    for setting in settings() {
        for polls in 0..30 {
            let at = format!("shutdown, dropped after {polls} polls, {setting:?}");
            let Scene { client, server, at_server, gate, others, setting } = Scene::new(setting);
            let mut victim = Hold::new(server.shutdown(FAR));
            for _ in 0..polls {
                if victim.poll().is_ready() {
                    break;
                }
                step();
            }
            drop(victim);
            gate.open();
            // The server is gone with its handle, peacefully or not.
            block_on(client.closed());
            block_on(at_server.closed());
            run();
            assert_eq!(others.lock().unwrap().len(), setting.others, "{at}");
            assert_eq!(common::tasks(), 0, "{at}");
        }
    }
}

/// Futures of all kinds, with what each is called
fn all_kinds(scene: &Scene) -> Vec<(&'static str, Hold<'_, ()>)> {
    let (client, server) = (&*scene.client, &scene.at_server);
    // It is refused where it waited for room to the end.
    let lost = |result: Result<(), Error>| {
        let over = matches!(result, Err(Error::Lost(_) | Error::Refused(Refusal::Closed)));
        assert!(over, "{result:?}");
    };
    vec![
        ("call", Hold::new(async move { lost(client.call("gate", "1").await.map(drop)) })),
        ("call back", Hold::new(client.call("back", "1").map_done())),
        ("acked", Hold::new(async move { lost(client.send_acked("gate", "1").await.map(drop)) })),
        ("send", Hold::new(client.send("note", "1").map_done())),
        ("ping", Hold::new(client.ping(3, FAR).map_done())),
        ("hello", Hold::new(client.hello().map_done())),
        ("closed", Hold::new(client.closed().map_done())),
        ("server's call", Hold::new(server.call("name", "1").map_done())),
        ("server's closed", Hold::new(server.closed().map_done())),
        ("drained", Hold::new(server.closed().map_done())),
    ]
}

#[test]
fn everything_ends_when_a_driver_or_the_runtime_is_dropped_at_any_step() {
    for setting in settings() {
        for victim in 0..4 {
            for steps in (0..40).chain([60, 100, 200, 400]) {
                let at = format!("task {victim} dropped after {steps} steps, {setting:?}");
                let scene = Scene::new(setting);
                let mut holds = all_kinds(&scene);
                let mut ended: Vec<_> = holds.iter_mut().map(|(_, hold)| hold.poll().is_ready()).collect();
                let poll_woken = |holds: &mut Vec<(&'static str, Hold<'_, ()>)>, ended: &mut [bool]| {
                    for ((_, hold), ended) in holds.iter_mut().zip(ended) {
                        if !*ended && hold.is_woken() {
                            *ended = hold.poll().is_ready();
                        }
                    }
                };
                for _ in 0..steps {
                    step();
                    poll_woken(&mut holds, &mut ended);
                }
                if victim == 3 {
                    reset();
                } else {
                    // The acceptor, the driver of the client, the driver of the server's connection
                    kill(victim);
                }
                if victim == 0 {
                    // Connections go on without the acceptor.
                    scene.client.close();
                }
                // A peer that has closed its direction is still given the answers it is owed.
                scene.gate.open();
                for _ in 0..20 {
                    run();
                    poll_woken(&mut holds, &mut ended);
                }
                let left: Vec<_> = holds
                    .iter()
                    .zip(&ended)
                    .filter(|(_, ended)| !**ended)
                    .map(|((name, _), _)| *name)
                    .collect();
                assert!(left.is_empty(), "{at}: {left:?} wait for ever");
                drop(holds);
                scene.check_ended(&at);
                assert_eq!(
                    block_on(scene.client.call("echo", ())).unwrap_err().to_string(),
                    "the call was not sent"
                );
            }
        }
    }
}

/// Splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[test]
fn who_waits_for_room_is_always_woken_whoever_gives_up() {
    let mut waited = 0;
    for seed in 0..400 {
        let mut random = Random(seed);
        let wire = [NARROW, ODD, Wire::WIDE][random.below(3)];
        let send_buffer = [1, 30, 100][random.below(3)];
        let scene = Scene::new(Setting { wire, send_buffer, hello: seed % 2 == 0, others: 2 });
        let client = &*scene.client;
        let mut holds: Vec<Option<Hold<'_, ()>>> = (0..24)
            .map(|i: usize| {
                Some(match i % 3 {
                    0 => Hold::new(async move { client.send("note", "a message to nobody").await.unwrap() }),
                    _ => Hold::new(async move {
                        let payload = format!("call {i} has this");
                        assert_eq!(client.call("echo", &payload).await, Ok(payload.clone().into()));
                    }),
                })
            })
            .collect();
        for _ in 0..random.below(300) {
            let hold = &mut holds[random.below(24)];
            match random.below(12) {
                0 => *hold = None,
                1..4 => {
                    if hold.as_mut().is_some_and(|hold| hold.poll().is_ready()) {
                        *hold = None;
                    }
                }
                _ => drop(step()),
            }
            waited = waited.max(client.internals().room);
        }
        // From here on only those that are woken are polled.
        for hold in &mut holds {
            if hold.as_mut().is_some_and(|hold| hold.poll().is_ready()) {
                *hold = None;
            }
        }
        loop {
            let stepped = step();
            let mut polled = false;
            for hold in &mut holds {
                if hold.as_ref().is_some_and(Hold::is_woken) {
                    polled = true;
                    if hold.as_mut().is_some_and(|hold| hold.poll().is_ready()) {
                        *hold = None;
                    }
                }
            }
            if !stepped && !polled {
                break;
            }
        }
        let left = holds.iter().flatten().count();
        assert_eq!(left, 0, "seed {seed}: {left} wait for ever: {:?}", client.internals());
        drop(holds);
        scene.check(&format!("seed {seed}"));
    }
    assert!(waited > 10, "it is full now and then: {waited}");
}

/// There is nothing to wait for but the clock itself
#[expect(clippy::disallowed_methods, reason = "the connection reads the same clock")]
fn pass(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {}
}

#[test]
fn a_deadline_that_is_over_when_the_driver_comes_does_not_make_it_spin() {
    for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::from_micros(20)] {
        let scene = Scene::new(Setting { wire: Wire::WIDE, send_buffer: 1 << 20, hello: true, others: 0 });
        let mut hold = Hold::new(scene.client.call("gate", ()).within(timeout));
        let first = hold.poll();
        pass(2 * timeout);
        if first.is_pending() {
            run();
            assert_eq!(hold.poll(), Poll::Ready(Err(Error::TimedOut)), "{timeout:?}");
        }
        drop(hold);
        scene.check(&format!("{timeout:?}"));
    }
}
