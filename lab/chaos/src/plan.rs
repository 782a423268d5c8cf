//! The plan of faults and their times, which follows from the seed.
//!
//! Two tracks run concurrently, one for the servers and one for the services and their connections, so that faults also
//! coincide by chance. Each track repeatedly draws all faults from a bag in random order.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A process that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A Blogs API, by number.
    Api(usize),
    /// An Analytics worker, by number.
    Worker(usize),
    /// The RabbitMQ node.
    RabbitMq,
    /// The Postgres server, all of its processes.
    Postgres,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a restart after this time.
    Kill(Target, Duration),
    /// kill -9 of two at the same moment.
    KillBoth(Target, Target, Duration),
    /// kill -9 of one backend of Postgres, which makes it recover.
    KillBackend,
    /// kill -9 of Postgres while it writes a checkpoint.
    KillInCheckpoint,
    /// RabbitMQ raises its memory alarm, and clears it after this time.
    Alarm(Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Target, Duration),
    /// A graceful stop and a restart.
    Restart(Target),
    /// A fault of the connections between a service and a server, or between the generator and an API.
    Net(Wire, Harm),
}

/// The place of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Between the generator and an API.
    Http(usize),
    /// Between a service and RabbitMQ.
    ToRabbitMq(Target),
    /// Between a service and Postgres.
    ToPostgres(Target),
}

/// A fault of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Every connection is closed.
    Cut,
    /// Every connection is reset.
    Reset,
    /// Bytes are delayed, for this time.
    Late(Duration),
    /// Bytes pass in small portions with pauses, for this time.
    Slow(Duration),
    /// Answers are lost for this time; then the connections are cut.
    HalfOpen(Duration),
    /// Nothing passes for this time; then the connections are cut.
    Silent(Duration),
}

/// A fault and the pause before it.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The pause before.
    pub pause: Duration,
    /// The fault.
    pub fault: Fault,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The faults of the servers.
    pub servers: Vec<Step>,
    /// The faults of the services and the connections.
    pub services: Vec<Step>,
}

impl Plan {
    /// The plan of a seed for a run of this duration: on each track the pauses alone last longer than the run. It starts with
    /// the plan of a shorter run of the same seed.
    #[must_use]
    pub fn of(seed: u64, duration: Duration) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut servers, mut services) = (Vec::new(), Vec::new());
        let mut lasts = Duration::ZERO;
        while lasts <= duration {
            let bag = servers_bag(&mut random);
            let on_servers = empty(bag, &mut servers, &mut random, (300, 1500));
            let bag = services_bag(&mut random);
            let on_services = empty(bag, &mut services, &mut random, (200, 1200));
            lasts += on_servers.min(on_services);
        }
        Self { servers, services }
    }
}

/// Draws every fault of a bag in random order. Returns the sum of the pauses between them.
fn empty(
    mut bag: Vec<Fault>,
    steps: &mut Vec<Step>,
    random: &mut SmallRng,
    (least_ms, most_ms): (u64, u64),
) -> Duration {
    bag.shuffle(random);
    let mut pauses = Duration::ZERO;
    for fault in bag {
        let pause = between(random, least_ms, most_ms);
        pauses += pause;
        steps.push(Step { pause, fault });
    }
    pauses
}

fn servers_bag(random: &mut SmallRng) -> Vec<Fault> {
    use Fault::{Alarm, Kill, KillBackend, KillBoth, KillInCheckpoint, Pause, Restart};
    use Target::{Postgres, RabbitMq};
    let worker = Target::Worker(random.random_range(0..2));
    let api = Target::Api(random.random_range(0..2));
    let mut down = || between(random, 0, 1500);
    vec![
        Kill(RabbitMq, down()),
        Kill(RabbitMq, down()),
        Kill(RabbitMq, down()),
        KillBoth(RabbitMq, Postgres, down()),
        KillBoth(RabbitMq, worker, down()),
        KillBoth(Postgres, api, down()),
        Kill(Postgres, down()),
        Kill(Postgres, down()),
        KillBackend,
        KillInCheckpoint,
        Restart(RabbitMq),
        Restart(Postgres),
        Alarm(between(random, 500, 3000)),
        Pause(RabbitMq, between(random, 500, 4000)),
        Pause(Postgres, between(random, 500, 4000)),
    ]
}

fn services_bag(random: &mut SmallRng) -> Vec<Fault> {
    use Fault::{Kill, KillBoth, Net, Pause, Restart};
    use Target::{Api, Worker};
    let (one, other) = (random.random_range(0..2), random.random_range(0..2));
    let service = |random: &mut SmallRng| {
        let number = random.random_range(0..2);
        if random.random_range(0..2) == 0 { Api(number) } else { Worker(number) }
    };
    let mut bag = vec![
        Kill(Api(0), between(random, 0, 800)),
        Kill(Api(1), between(random, 0, 800)),
        Kill(Worker(0), between(random, 0, 800)),
        Kill(Worker(1), between(random, 0, 800)),
        Kill(Worker(one), between(random, 0, 800)),
        KillBoth(Api(other), Worker(one), between(random, 0, 800)),
        KillBoth(Worker(0), Worker(1), between(random, 0, 800)),
        Pause(Api(one), between(random, 200, 3000)),
        Pause(Worker(other), between(random, 200, 4000)),
        Restart(service(random)),
    ];
    for harm in 0..6 {
        let wire = match random.random_range(0..6) {
            0 => Wire::Http(random.random_range(0..2)),
            1..4 => Wire::ToRabbitMq(service(random)),
            _ => Wire::ToPostgres(service(random)),
        };
        let time = between(random, 500, 3500);
        let harm = match harm {
            0 => Harm::Cut,
            1 => Harm::Reset,
            2 => Harm::Late(time),
            3 => Harm::Slow(time),
            4 => Harm::HalfOpen(time),
            _ => Harm::Silent(time),
        };
        bag.push(Net(wire, harm));
    }
    bag
}

fn between(random: &mut SmallRng, least_ms: u64, most_ms: u64) -> Duration {
    Duration::from_millis(random.random_range(least_ms..=most_ms))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(number) => write!(f, "api {number}"),
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::RabbitMq => f.write_str("RabbitMQ"),
            Self::Postgres => f.write_str("Postgres"),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(number) => write!(f, "generator to api {number}"),
            Self::ToRabbitMq(from) => write!(f, "{from} to RabbitMQ"),
            Self::ToPostgres(from) => write!(f, "{from} to Postgres"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target, down) => write!(f, "kill -9 {target}, back after {} ms", down.as_millis()),
            Self::KillBoth(one, other, down) => {
                write!(f, "kill -9 {one} and {other}, back after {} ms", down.as_millis())
            }
            Self::KillBackend => f.write_str("kill -9 a backend of Postgres"),
            Self::KillInCheckpoint => f.write_str("kill -9 Postgres in a checkpoint"),
            Self::Alarm(time) => write!(f, "memory alarm of RabbitMQ for {} ms", time.as_millis()),
            Self::Pause(target, time) => write!(f, "SIGSTOP {target} for {} ms", time.as_millis()),
            Self::Restart(target) => write!(f, "restart {target}"),
            Self::Net(wire, harm) => match harm {
                Harm::Cut => write!(f, "cut {wire}"),
                Harm::Reset => write!(f, "reset {wire}"),
                Harm::Late(time) => write!(f, "latency on {wire} for {} ms", time.as_millis()),
                Harm::Slow(time) => write!(f, "slow {wire} for {} ms", time.as_millis()),
                Harm::HalfOpen(time) => write!(f, "half-open {wire} for {} ms", time.as_millis()),
                Harm::Silent(time) => write!(f, "silence on {wire} for {} ms", time.as_millis()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| format!("{:?} {}", step.pause, step.fault)).collect()
    }

    #[test]
    fn a_seed_determines_the_whole_plan() {
        let lines = |seed| {
            let Plan { servers, services } = Plan::of(seed, Duration::from_secs(60));
            [lines(&servers), lines(&services)]
        };
        assert_eq!(lines(7), lines(7));
        assert_ne!(lines(7), lines(8));
    }

    #[test]
    fn plan_outlasts_its_run_and_is_a_prefix_of_a_longer_one() {
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
        let (short, long) = (Plan::of(7, minute), Plan::of(7, day));
        for (short, long) in [(&short.servers, &long.servers), (&short.services, &long.services)] {
            assert!(short.iter().map(|step| step.pause).sum::<Duration>() > minute);
            assert!(long.iter().map(|step| step.pause).sum::<Duration>() > day);
            assert_eq!(lines(short), lines(&long[..short.len()]));
        }
    }
}
