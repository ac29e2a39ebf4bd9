//! The ledger: everything that FCM and APNs received, and what they answered.
//!
//! It is written on the path of every send, so it is cut into shards by the hash of the token: two
//! connections rarely wait for each other, and nobody waits for a reader for long. A shard keeps its
//! youngest entries in a ring and counts per token for ever (until the ledger is emptied), so a test
//! can compare exact sets of 100,000 devices even when the entries themselves were cut.
//!
//! Sequence numbers are given under the shard's lock. A reader notes the next number before it
//! walks the shards and ignores what is above, so a listing never skips an entry that was being
//! written: reading on from the last number is safe.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{chance, settings::LedgerSettings};

const SHARDS: usize = 32;

/// A push provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Firebase Cloud Messaging.
    Fcm,
    /// Apple Push Notification service.
    Apns,
}

impl Provider {
    /// Both of them.
    pub const ALL: [Provider; 2] = [Provider::Fcm, Provider::Apns];

    /// The name in JSON and in queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fcm => "fcm",
            Self::Apns => "apns",
        }
    }
}

/// One request, as received and as answered.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) received_us: i64,
    pub(crate) provider: Provider,
    /// Project of FCM, topic of APNs.
    pub(crate) scope: Arc<str>,
    pub(crate) token: Arc<str>,
    /// Headers of interest; the same list is shared by requests that have equal ones.
    pub(crate) headers: Arc<Headers>,
    pub(crate) payload: Bytes,
    /// Status answered; none when the connection or stream was cut instead.
    pub(crate) status: Option<u16>,
    /// Code of the error or name of the fault answered; empty for an accepted send.
    pub(crate) outcome: Cow<'static, str>,
    /// The `apns-id` or the number in FCM's message name.
    pub(crate) message_id: u128,
    pub(crate) connection: u64,
    pub(crate) stream: u32,
}

/// Headers of interest, by name.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// How often a token was sent to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) received: u64,
    pub(crate) accepted: u64,
}

#[derive(Debug, Default)]
struct Shard {
    entries: VecDeque<Entry>,
    tokens: [HashMap<Arc<str>, Tally>; 2],
    /// (provider, status, requests): a handful, so a list.
    statuses: Vec<(Provider, Option<u16>, u64)>,
}

/// Which entries a reader wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) provider: Option<Provider>,
    pub(crate) token: Option<String>,
    pub(crate) status: Option<u16>,
    /// Only entries with a higher sequence number.
    pub(crate) since: u64,
    /// Only entries with a sequence number up to this.
    pub(crate) until: Option<u64>,
}

impl Filter {
    fn wants(&self, entry: &Entry) -> bool {
        entry.sequence > self.since
            && self.until.is_none_or(|until| entry.sequence <= until)
            && self.provider.is_none_or(|wanted| wanted == entry.provider)
            && self.status.is_none_or(|wanted| Some(wanted) == entry.status)
            && self.token.as_deref().is_none_or(|wanted| wanted == &*entry.token)
    }
}

/// Counts over everything received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) statuses: Vec<(Option<u16>, u64)>,
    pub(crate) received: u64,
    pub(crate) accepted: u64,
    /// Tokens with at least one accepted send.
    pub(crate) distinct_tokens: u64,
    /// Tokens with more than one.
    pub(crate) duplicate_tokens: u64,
}

/// The ledger of one sandbox.
#[derive(Debug)]
pub(crate) struct Ledger {
    shards: Vec<Mutex<Shard>>,
    next: AtomicU64,
    accepted: AtomicU64,
    shard_capacity: usize,
    keep_payloads: bool,
}

impl Ledger {
    pub(crate) fn new(settings: &LedgerSettings) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            shard_capacity: settings.capacity.div_ceil(SHARDS),
            keep_payloads: settings.payloads,
        }
    }

    fn shard(&self, token: &str) -> MutexGuard<'_, Shard> {
        self.at(chance::hash(0, token.as_bytes()) as usize % SHARDS)
    }

    fn at(&self, index: usize) -> MutexGuard<'_, Shard> {
        // A panic cannot leave a shard half written in a way that matters to a test tool.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the token was sent to.
    pub(crate) fn tally(&self, provider: Provider, token: &str) -> Tally {
        let shard = self.shard(token);
        shard.tokens[provider as usize]
            .get(token)
            .copied()
            .unwrap_or_default()
    }

    /// Writes one request down; `entry` gets its sequence number and makes the entry.
    pub(crate) fn record(
        &self,
        provider: Provider,
        token: &str,
        status: Option<u16>,
        entry: impl FnOnce(u64, Arc<str>) -> Entry,
    ) -> u64 {
        let mut shard = self.shard(token);
        let sequence = self.next.fetch_add(1, Ordering::SeqCst);
        let tokens = &mut shard.tokens[provider as usize];
        let accepted = u64::from(status == Some(200));
        let token: Arc<str> = match tokens.get_key_value(token) {
            Some((known, _)) => Arc::clone(known),
            None => {
                let new: Arc<str> = token.into();
                tokens.insert(Arc::clone(&new), Tally::default());
                new
            }
        };
        if let Some(tally) = tokens.get_mut(&token) {
            tally.received += 1;
            tally.accepted += accepted;
        }
        match shard
            .statuses
            .iter_mut()
            .find(|(p, s, _)| *p == provider && *s == status)
        {
            Some((_, _, count)) => *count += 1,
            None => shard.statuses.push((provider, status, 1)),
        }
        let mut entry = entry(sequence, token);
        if !self.keep_payloads {
            entry.payload = Bytes::new();
        }
        if self.shard_capacity > 0 {
            if shard.entries.len() >= self.shard_capacity {
                shard.entries.pop_front();
            }
            shard.entries.push_back(entry);
        }
        drop(shard);
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        sequence
    }

    /// Requests received and sends accepted, ever (an emptied ledger starts at 0 again).
    pub(crate) fn progress(&self) -> (u64, u64) {
        (
            self.next.load(Ordering::SeqCst) - 1,
            self.accepted.load(Ordering::Relaxed),
        )
    }

    /// The entries that `filter` wants, oldest first, at most `limit`, and how many it would want.
    pub(crate) fn list(&self, filter: &Filter, limit: usize) -> (Vec<Entry>, usize) {
        let before = self.next.load(Ordering::SeqCst);
        let mut total = 0;
        let mut found: Vec<Entry> = Vec::new();
        let mut visit = |shard: MutexGuard<'_, Shard>| {
            let first = shard
                .entries
                .partition_point(|entry| entry.sequence <= filter.since);
            let mut room = limit;
            for entry in shard.entries.iter().skip(first) {
                if entry.sequence < before && filter.wants(entry) {
                    total += 1;
                    // Entries of a shard are in order, so its first `limit` suffice.
                    if room > 0 {
                        room -= 1;
                        found.push(entry.clone());
                    }
                }
            }
        };
        match &filter.token {
            Some(token) => visit(self.shard(token)),
            None => (0..SHARDS).for_each(|index| visit(self.at(index))),
        }
        found.sort_unstable_by_key(|entry| entry.sequence);
        found.truncate(limit);
        (found, total)
    }

    /// How many entries `filter` wants.
    pub(crate) fn count(&self, filter: &Filter) -> usize {
        self.list(filter, 0).1
    }

    /// Counts for one provider.
    pub(crate) fn totals(&self, provider: Provider) -> Totals {
        let mut totals = Totals::default();
        for index in 0..SHARDS {
            let shard = self.at(index);
            for (_, status, count) in shard.statuses.iter().filter(|(p, ..)| *p == provider) {
                totals.received += count;
                if *status == Some(200) {
                    totals.accepted += count;
                }
                match totals.statuses.iter_mut().find(|(s, _)| s == status) {
                    Some((_, sum)) => *sum += count,
                    None => totals.statuses.push((*status, *count)),
                }
            }
            for tally in shard.tokens[provider as usize].values() {
                totals.distinct_tokens += u64::from(tally.accepted > 0);
                totals.duplicate_tokens += u64::from(tally.accepted > 1);
            }
        }
        totals.statuses.sort_unstable();
        totals
    }

    /// How many pieces [`Ledger::tokens`] and [`Ledger::accepted`] have.
    pub(crate) const PIECES: usize = SHARDS;

    /// One piece of the list of tokens: each token and how often it was sent to, in no order.
    pub(crate) fn tokens(&self, provider: Provider, piece: usize) -> Vec<(Arc<str>, Tally)> {
        self.at(piece).tokens[provider as usize]
            .iter()
            .map(|(token, tally)| (Arc::clone(token), *tally))
            .collect()
    }

    /// The accepted sends of one piece, oldest first; all those to a token are in one piece.
    pub(crate) fn accepted(&self, piece: usize) -> Vec<Entry> {
        let shard = self.at(piece);
        let accepted = shard.entries.iter().filter(|entry| entry.status == Some(200));
        accepted.cloned().collect()
    }

    /// Entries that made room for younger ones.
    pub(crate) fn dropped(&self) -> u64 {
        let kept: usize = (0..SHARDS).map(|index| self.at(index).entries.len()).sum();
        self.progress().0.saturating_sub(kept as u64)
    }

    /// Forgets everything and starts numbering at 1 again.
    pub(crate) fn clear(&self) {
        // All shards are held, so no request falls between the old ledger and the new one.
        let mut shards: Vec<_> = (0..SHARDS).map(|index| self.at(index)).collect();
        for shard in &mut shards {
            **shard = Shard::default();
        }
        self.next.store(1, Ordering::SeqCst);
        self.accepted.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ledger: &Ledger, token: &str, status: u16) -> u64 {
        ledger.record(Provider::Fcm, token, Some(status), |sequence, token| Entry {
            sequence,
            received_us: 0,
            provider: Provider::Fcm,
            scope: "p".into(),
            token,
            headers: Arc::default(),
            payload: Bytes::from_static(b"{}"),
            status: Some(status),
            outcome: "".into(),
            message_id: 0,
            connection: 1,
            stream: 1,
        })
    }

    #[test]
    fn the_cap_cuts_entries_but_never_counts() {
        let ledger = Ledger::new(&LedgerSettings {
            capacity: 64,
            payloads: true,
        });
        for n in 0..1000 {
            record(&ledger, &format!("t{n}"), 200);
        }
        assert!(ledger.count(&Filter::default()) <= 64);
        let totals = ledger.totals(Provider::Fcm);
        assert_eq!((totals.accepted, totals.distinct_tokens), (1000, 1000));
    }

    #[test]
    fn a_listing_is_in_order_and_reads_on_from_its_last_number() {
        let ledger = Ledger::new(&LedgerSettings::default());
        for n in 0..100 {
            record(&ledger, &format!("t{n}"), if n % 2 == 0 { 200 } else { 404 });
        }
        let mut filter = Filter {
            status: Some(404),
            ..Filter::default()
        };
        let (first, total) = ledger.list(&filter, 30);
        assert_eq!((first.len(), total), (30, 50));
        filter.since = first[29].sequence;
        let (second, _) = ledger.list(&filter, 30);
        assert_eq!(second.len(), 20);
        let numbers: Vec<_> = first.iter().chain(&second).map(|e| e.sequence).collect();
        assert_eq!(numbers, (1..=50).map(|n| n * 2).collect::<Vec<_>>());
    }

    #[test]
    fn duplicates_are_tokens_accepted_more_than_once() {
        let ledger = Ledger::new(&LedgerSettings::default());
        record(&ledger, "a", 503);
        record(&ledger, "a", 200);
        record(&ledger, "b", 200);
        record(&ledger, "b", 200);
        let totals = ledger.totals(Provider::Fcm);
        assert_eq!((totals.distinct_tokens, totals.duplicate_tokens), (2, 1));
        assert_eq!(ledger.tally(Provider::Fcm, "a").received, 2);
        ledger.clear();
        assert_eq!(ledger.totals(Provider::Fcm), Totals::default());
        assert_eq!(record(&ledger, "a", 200), 1);
    }
}
