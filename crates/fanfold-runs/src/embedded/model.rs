//! Any sequence of calls: the lines against what they promise.

use std::collections::{BTreeMap, BTreeSet};

use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};
use proptest::prelude::*;

use super::lines::Lines;
use crate::port::{Hint, Lease};

const HINTS_MAX: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    Offer { session: u8, run: u8, delay: Option<u64> },
    Take,
    Pass { ms: u64 },
    Extend { nth: usize },
    Done { nth: usize },
    GiveBack { nth: usize, delay: u64 },
    Bury { nth: usize },
    Redrive { session: u8, run: u8 },
    Withdraw { session: u8, run: u8, bury: bool },
    Forget { session: u8, run: Option<u8> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, 0..5u8, proptest::option::of(0..50u64)).prop_map(|(session, run, delay)| Step::Offer { session, run, delay }),
        4 => Just(Step::Take),
        2 => (0..60u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..9usize).prop_map(|nth| Step::Extend { nth }),
        2 => (0..9usize).prop_map(|nth| Step::Done { nth }),
        1 => (0..9usize, 0..50u64).prop_map(|(nth, delay)| Step::GiveBack { nth, delay }),
        1 => (0..9usize).prop_map(|nth| Step::Bury { nth }),
        1 => (0..4u8, 0..5u8).prop_map(|(session, run)| Step::Redrive { session, run }),
        1 => (0..4u8, 0..5u8, any::<bool>()).prop_map(|(session, run, bury)| Step::Withdraw { session, run, bury }),
        1 => (0..4u8, proptest::option::of(0..5u8)).prop_map(|(session, run)| Step::Forget { session, run }),
    ]
}

fn session(number: u8) -> SessionKey {
    let tenant = TenantId::new(&format!("t{}", number / 2)).unwrap();
    SessionKey::new(tenant, SessionId::new(&format!("s{number}")).unwrap())
}

fn run(number: u8) -> RunId {
    RunId::new(&format!("r{number}")).unwrap()
}

/// What ought to be: each session's runs in order, the buried ones, and every lease ever issued with its end.
#[derive(Default)]
struct Model {
    order: BTreeMap<SessionKey, Vec<RunId>>,
    dead: BTreeSet<(SessionKey, RunId)>,
    leases: Vec<(Lease, u64)>,
    now_ms: u64,
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(|(_, until_ms)| *until_ms > self.now_ms).map(|(lease, _)| lease)
    }

    fn open(&self) -> usize {
        self.order.values().map(Vec::len).sum::<usize>()
    }

    fn end(&mut self, nth: usize) -> Option<(Lease, bool)> {
        let now_ms = self.now_ms;
        let len = self.leases.len();
        let (lease, until_ms) = self.leases.get_mut(nth.checked_rem(len)?)?;
        let was_live = *until_ms > now_ms;
        *until_ms = 0;
        Some((lease.clone(), was_live))
    }

    fn step(&mut self, lines: &mut Lines, step: Step) {
        let now_ms = self.now_ms;
        lines.advance(now_ms);
        match step {
            Step::Offer { session: number, run: id, delay } => {
                let (key, run) = (session(number), run(id));
                let known = self.order.get(&key).is_some_and(|runs| runs.contains(&run))
                    || self.dead.contains(&(key.clone(), run.clone()));
                let room = self.open() < HINTS_MAX;
                let hint = Hint { not_before_ms: delay.map(|delay| now_ms + delay), ..Hint::new(key.clone(), run.clone()) };
                let offered = lines.offer(&hint, now_ms);
                assert_eq!(offered.is_ok(), known || room, "I5 bounded");
                if !known && room {
                    self.order.entry(key).or_default().push(run);
                }
            }
            Step::Take => {
                let Some(lease) = lines.take("w", now_ms + 20) else { return };
                let key = &lease.hint.session;
                assert!(self.live().all(|other| other.hint.session != *key), "one lease for each session");
                assert_eq!(self.order[key].first(), Some(&lease.hint.run), "in the order of offers");
                assert!(lease.hint.not_before_ms.is_none_or(|not_before_ms| not_before_ms <= now_ms));
                assert!(self.leases.iter().all(|(other, _)| other.id < lease.id), "a lease's name is its own");
                self.leases.push((lease, now_ms + 20));
            }
            Step::Pass { ms } => self.now_ms += ms,
            Step::Extend { nth } => {
                let Some((lease, was_live)) = self.end(nth) else { return };
                assert_eq!(lines.extend(lease.id, now_ms + 30).is_ok(), was_live);
                if was_live {
                    self.leases
                        .iter_mut()
                        .filter(|(other, _)| other.id == lease.id)
                        .for_each(|(_, until_ms)| *until_ms = now_ms + 30);
                }
            }
            Step::Done { nth } => {
                let Some((lease, was_live)) = self.end(nth) else { return };
                assert_eq!(lines.done(lease.id, now_ms).is_ok(), was_live);
                if was_live {
                    self.order.get_mut(&lease.hint.session).unwrap().remove(0);
                }
            }
            Step::GiveBack { nth, delay } => {
                let Some((lease, was_live)) = self.end(nth) else { return };
                assert_eq!(lines.give_back(lease.id, now_ms + delay, now_ms).is_ok(), was_live);
            }
            Step::Bury { nth } => {
                let Some((lease, was_live)) = self.end(nth) else { return };
                assert_eq!(lines.bury(lease.id, "why".into(), now_ms).is_ok(), was_live);
                if was_live {
                    self.order.get_mut(&lease.hint.session).unwrap().remove(0);
                    self.dead.insert((lease.hint.session, lease.hint.run));
                }
            }
            Step::Withdraw { session: number, run: id, bury } => {
                let (key, run) = (session(number), run(id));
                let leased = self.live().any(|lease| lease.hint.session == key && lease.hint.run == run);
                let line = self.order.entry(key.clone()).or_default();
                let there = line.contains(&run) && !leased;
                assert_eq!(lines.withdraw(&key, &run, bury.then(|| "why".into()), now_ms).is_some(), there);
                if there {
                    line.retain(|waiting| *waiting != run);
                    if bury {
                        self.dead.insert((key, run));
                    }
                }
            }
            Step::Forget { session: number, run: id } => {
                let (key, id) = (session(number), id.map(run));
                lines.forget(&key, id.as_ref());
                self.dead.retain(|(of, run)| *of != key || id.as_ref().is_some_and(|id| id != run));
            }
            Step::Redrive { session: number, run: id } => {
                let (key, run) = (session(number), run(id));
                let buried = (key.clone(), run.clone());
                let was_dead = self.dead.contains(&buried);
                let redriven = lines.redrive(&key, &run, now_ms);
                assert_eq!(redriven.is_err(), was_dead && self.open() >= HINTS_MAX, "I5 bounded");
                assert_eq!(redriven.unwrap_or(true), was_dead);
                if redriven == Ok(true) {
                    self.dead.remove(&buried);
                    self.order.entry(key).or_default().push(run);
                }
            }
        }
    }

    fn check(&self, lines: &Lines) {
        let depth = lines.depth();
        assert_eq!(depth.waiting + depth.delayed + depth.leased, self.open());
        assert_eq!(depth.dead, self.dead.len());
        let listed =
            lines.list(None, 100).into_iter().map(|listed| (listed.hint.session, listed.hint.run)).collect::<BTreeSet<_>>();
        let expected = self.order.iter().flat_map(|(key, runs)| runs.iter().map(move |run| (key.clone(), run.clone())));
        assert_eq!(listed, expected.collect::<BTreeSet<_>>());
        let dead = lines.dead_letters(None, 100).into_iter().map(|letter| (letter.hint.session, letter.hint.run));
        assert_eq!(dead.collect::<BTreeSet<_>>(), self.dead);
    }
}

proptest! {
    #[test]
    fn lines_keep_their_promises(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut lines, mut model) = (Lines::new(HINTS_MAX, 100, 3), Model::default());
        for step in steps {
            model.step(&mut lines, step);
            model.check(&lines);
        }
        // Nothing is stuck: in the end everything can be had.
        model.now_ms += 1_000_000;
        lines.advance(model.now_ms);
        while let Some(lease) = lines.take("w", u64::MAX) {
            prop_assert_eq!(model.order.get_mut(&lease.hint.session).unwrap().remove(0), lease.hint.run);
            lines.done(lease.id, model.now_ms).unwrap();
        }
        prop_assert!(model.order.values().all(Vec::is_empty), "{:?} are stuck", model.order);
    }
}
