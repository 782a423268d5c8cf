//! Places for connections, with limits in total, per network and per IPv6 delegation.
//!
//! Nothing waits for a place. If all are taken, a new connection replaces the one whose client has been idle longest, so
//! clients that hold idle connections cannot block others.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::task::AbortHandle;

use super::Bounds;
use super::network::{DELEGATION_FACTOR, delegation, household};

/// The value of `idle_since` while a request is in progress.
const WORKING: u64 = u64::MAX;
/// The value of `idle_since` after another connection has taken the place.
const CLOSED: u64 = u64::MAX - 1;

/// All places of a listener. Clones share them.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    connections_max: usize,
    household_max: usize,
    delegation_max: usize,
    /// Increases each time a client becomes idle, so that it orders these moments like a clock.
    turns: AtomicU64,
    taken: Mutex<Taken>,
}

/// A network is in the map while it has a connection.
#[derive(Default)]
struct Taken {
    next_id: u64,
    connections: HashMap<u64, Arc<Connection>>,
    households: HashMap<IpAddr, usize>,
    delegations: HashMap<Ipv6Addr, usize>,
}

struct Connection {
    /// The turn in which its client became idle: when it connected or got its last response. A client that is still
    /// reading that response counts as idle too.
    idle_since: AtomicU64,
    /// `None` for a proxy.
    household: Option<IpAddr>,
    delegation: Option<Ipv6Addr>,
    /// The task that serves the connection. Aborting it closes the connection. Unlike a signal, this costs nothing until then.
    task: OnceLock<AbortHandle>,
}

/// One connection's place, held until it is dropped. Clones share the place.
#[derive(Clone)]
pub(super) struct Place(Arc<Guard>);

struct Guard {
    id: u64,
    connection: Arc<Connection>,
    places: Places,
}

impl Places {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let household_max = bounds.connections_per_address_max;
        let factor = usize::try_from(DELEGATION_FACTOR).unwrap_or(usize::MAX);
        Self(Arc::new(Shared {
            connections_max: bounds.connections_max,
            household_max,
            delegation_max: household_max.saturating_mul(factor),
            turns: AtomicU64::new(0),
            taken: Mutex::default(),
        }))
    }

    /// Takes a place for a connection from this address. Returns `None` if its network has used its share, or if requests in
    /// progress take all places.
    pub(super) fn take(&self, address: IpAddr, is_proxy: bool) -> Option<Place> {
        let shared = &*self.0;
        let household = (!is_proxy).then(|| household(address));
        let delegation = delegation(address).filter(|_| !is_proxy);
        let mut taken = self.lock();
        let has_share = |count: Option<&usize>, max: usize| count.is_some_and(|count| *count >= max);
        if household.is_some_and(|network| has_share(taken.households.get(&network), shared.household_max))
            || delegation
                .is_some_and(|network| has_share(taken.delegations.get(&network), shared.delegation_max))
        {
            return None;
        }
        if taken.connections.len() >= shared.connections_max && !taken.close_idle() {
            return None;
        }
        let id = taken.next_id;
        taken.next_id += 1;
        let connection = Arc::new(Connection {
            idle_since: AtomicU64::new(self.turn()),
            household,
            delegation,
            task: OnceLock::new(),
        });
        taken.connections.insert(id, Arc::clone(&connection));
        if let Some(network) = household {
            *taken.households.entry(network).or_default() += 1;
        }
        if let Some(network) = delegation {
            *taken.delegations.entry(network).or_default() += 1;
        }
        drop(taken);
        Some(Place(Arc::new(Guard { id, connection, places: self.clone() })))
    }

    fn turn(&self) -> u64 {
        self.0.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Closes the connection that has been idle longest. Returns false if none is idle.
    fn close_idle(&mut self) -> bool {
        loop {
            let idle = self
                .connections
                .iter()
                .map(|(id, connection)| (connection.idle_since.load(Ordering::Relaxed), *id));
            let Some((since, id)) = idle.min().filter(|(since, _)| *since < CLOSED) else { return false };
            let Some(connection) = self.connections.get(&id) else { return false };
            // Its next request may have arrived in the meantime.
            let closes =
                connection.idle_since.compare_exchange(since, CLOSED, Ordering::AcqRel, Ordering::Relaxed);
            if closes.is_ok() {
                if let Some(task) = connection.task.get() {
                    task.abort();
                }
                tracing::debug!("closed an idle connection to make room for a new one");
                self.remove(id);
                return true;
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(network) = connection.household {
            count_down(&mut self.households, network);
        }
        if let Some(network) = connection.delegation {
            count_down(&mut self.delegations, network);
        }
    }
}

fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, network: K) {
    if let Some(count) = counts.get_mut(&network) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&network);
        }
    }
}

impl Place {
    /// Records that a request has arrived. Returns false if another connection has taken the place.
    pub(super) fn begin(&self) -> bool {
        self.0.connection.idle_since.swap(WORKING, Ordering::AcqRel) != CLOSED
    }

    /// Records that the request has been answered.
    pub(super) fn end(&self) {
        self.0.connection.idle_since.store(self.0.places.turn(), Ordering::Release);
    }

    /// Sets the task to abort when another connection takes the place. Call it before another place is taken.
    pub(super) fn served_by(&self, task: AbortHandle) {
        let _ = self.0.connection.task.set(task);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.places.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections_max: usize, connections_per_address_max: usize) -> Places {
        Places::new(&Bounds { connections_max, connections_per_address_max, ..Bounds::of_operations() })
    }

    fn take(places: &Places, address: &str) -> Option<Place> {
        places.take(address.parse().unwrap(), false)
    }

    fn is_empty(places: &Places) -> bool {
        let taken = places.lock();
        taken.connections.is_empty() && taken.households.is_empty() && taken.delegations.is_empty()
    }

    #[test]
    fn a_network_has_a_share_and_a_proxy_has_none() {
        let places = places(100, 2);
        let held = [take(&places, "2001:db8::1").unwrap(), take(&places, "2001:db8::2").unwrap()];
        assert!(take(&places, "2001:db8::3").is_none() && take(&places, "192.0.2.1").is_some());
        drop(held);
        assert!(take(&places, "2001:db8::3").is_some());
        let proxied: Vec<_> = (0..5).map(|_| places.take([10, 0, 0, 1].into(), true).unwrap()).collect();
        drop(proxied);
        assert!(is_empty(&places));
    }

    #[test]
    fn networks_of_one_delegation_have_four_shares() {
        let places = places(100, 2);
        let of = |network: u8| take(&places, &format!("2001:db8:0:{network:x}::1"));
        let held: Vec<_> = (0..8).map(|network| of(network).unwrap()).collect();
        assert!(of(8).is_none() && take(&places, "2001:db8:0:100::1").is_some());
        drop(held);
        assert!(is_empty(&places));
    }

    #[test]
    fn a_new_connection_closes_the_one_that_is_idle_longest() {
        let places = places(4, 1);
        let of = |index: u8| take(&places, &format!("192.0.2.{index}"));
        let is_closed = |place: &Place| place.0.connection.idle_since.load(Ordering::Relaxed) == CLOSED;
        let held: Vec<_> = (1..5).map(|index| of(index).unwrap()).collect();
        assert!(held[0].begin() && held[1].begin());
        held[1].end();
        let fifth = of(5).unwrap();
        assert_eq!(held.iter().map(is_closed).collect::<Vec<_>>(), [false, false, true, false]);
        assert!(!held[2].begin(), "its request is not worked on");
        // Its address may connect again while the old connection is being closed.
        let again = of(3).unwrap();
        assert!(is_closed(&held[3]) && !is_closed(&held[1]));
        assert!([&held[1], &fifth, &again].iter().all(|place| place.begin()));
        assert!(of(6).is_none(), "all are working");
        drop((held, fifth, again));
        assert!(is_empty(&places));
    }
}
