//! A node: its parts put together, served until it is told to go, and let go in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fanfold_fold::{Action, AttemptLost, Command, Offset, Run, RunStatus, SessionKey};
use fanfold_log::EventLog;
use fanfold_session::{FrameCodec, HostError, Looked, Ports, Sessions};
use fanfold_store::{Notes, SessionIndex as _};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::archive::Archiver;
use crate::auth::{Authenticator, JwtKeys};
use crate::backend::Backend;
use crate::clock;
use crate::config::{Config, LogBackend};
use crate::edge::{Edge, Framing, Readers, notices};
use crate::erase::Erasures;
use crate::listings::Listings;
use crate::moving::{self, Exporter};
use crate::namesake::Namesakes;
use crate::run::Patience;
use crate::run::budget::Budget;
use crate::run::desk::Desk;
use crate::run::graves::Graves;
use crate::run::hook::{self, Teller};
use crate::run::keeper::Keeper;
use crate::run::local::{self, LocalRuns};
use crate::run::model::{self, Model};
use crate::run::worker::{self, Phase};
use crate::{grpc, http};

/// What clients that were told to come back elsewhere may take to leave, of the time that a drain may take; and what the worker may
/// take to give its runs back.
const LEAVE_WITHIN: f64 = 0.2;

/// Sessions with open runs that are read from the list at a time.
const UNFINISHED_PAGE: usize = 256;

/// Tries to bring one of them into memory, and the time between two.
const BRING_TRIES: usize = 60;
const BRING_AGAIN: Duration = Duration::from_millis(500);

/// A node that is ready to serve.
pub struct Node {
    config: Config,
    edge: Arc<Edge>,
    log: Arc<dyn EventLog>,
    keeper: Arc<Keeper>,
    teller: Option<Teller>,
    archiver: Archiver,
    control: Option<Exporter>,
    namesakes: Option<Namesakes>,
    model: Arc<dyn Model>,
    metrics: PrometheusHandle,
    drain: watch::Sender<bool>,
    http: TcpListener,
    grpc: TcpListener,
}

impl Node {
    /// Opens log and store, then binds its ports. Nothing is served before everything is sound.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        config.check()?;
        config.check_name()?;
        let model = model::open(&config.runs, &config.models)?;
        let authenticator = authenticator(&config)?;
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().context("metrics")?;
        fanfold_log::describe_metrics();
        fanfold_store::describe_metrics();
        fanfold_runs::describe_metrics();
        fanfold_models::describe_metrics();
        crate::edge::describe_metrics();
        let Backend { log, inventory, consumer, store, queue, neighbours, namesakes, queue_is_new, compaction } =
            Backend::open(&config).await?;
        let notes = queue_is_new.then(|| store.clone() as Arc<dyn Notes>);
        let graves = Arc::new(Graves::new(Arc::clone(&queue), notes));
        graves.restore().await.context("dead letters can't be read")?;
        let budget = Budget::open(config.node.name.clone(), config.runs.limits.clone(), store.clone());
        let budget = Arc::new(budget.await.context("used tokens can't be read")?);
        let (hooks, teller) = hook::open(&config.hooks, &config.node.name, store.clone())?.unzip();
        let keeper = Keeper::new(Arc::clone(&queue), Arc::clone(&graves), Arc::clone(&budget), hooks.clone(), patience(&config));
        let listings = Listings::new(store.clone(), !queue_is_new);
        let ports = Ports {
            log: log.clone(),
            snapshots: store.clone(),
            archive: store.clone(),
            contents: store.clone(),
            index: Arc::new(listings.clone()),
            parking: store.clone(),
            codecs: Framing::ALL.iter().map(|framing| Arc::new(*framing) as Arc<dyn FrameCodec>).collect(),
            neighbours,
            observer: keeper.clone(),
            clock: Arc::new(clock::now_ms),
        };
        let sessions = Sessions::start(ports, config.session.to_session()).await.context("sessions")?;
        let erasures =
            Erasures::new(log.clone(), store.clone(), listings.clone(), Arc::clone(&graves), compaction, config.erase.clone());
        let erasures = Arc::new(erasures);
        let archiver =
            Archiver::new(consumer, log.clone(), store.clone(), sessions.clone(), Arc::clone(&erasures), config.archive.clone());
        // Where many nodes share log and store, a tool asks those.
        let control = (config.log.backend == LogBackend::Embedded).then(|| {
            let (sessions, queue) = (sessions.clone(), Arc::clone(&queue));
            Exporter { log: log.clone(), inventory, store: store.clone(), sessions, queue }
        });
        let (drain, draining) = watch::channel(false);
        let desk = Desk::new(config.node.name.clone(), sessions.clone(), queue, Arc::clone(&keeper));
        let notices = notices(&sessions, draining.clone());
        let edge = Arc::new(Edge {
            node: config.node.name.clone(),
            sessions,
            desk,
            graves,
            budget,
            hooks,
            erasures,
            listings,
            readers: Readers::default(),
            parking: store,
            authenticator,
            connections: Arc::new(Semaphore::new(config.limits.connections_max)),
            limits: config.limits.clone(),
            origins: config.listen.origins.clone(),
            draining,
            notices,
        });
        let http = bind(config.listen.http).await?;
        let grpc = bind(config.listen.grpc).await?;
        Ok(Self { config, edge, log, keeper, teller, archiver, control, namesakes, model, metrics, drain, http, grpc })
    }

    /// Where HTTP and gRPC are listened on.
    pub fn addresses(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.grpc.local_addr()?))
    }

    /// Serves until `stop`, then drains within the configured time.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { config, edge, log, keeper, teller, archiver, control, namesakes, model, metrics, drain, http, grpc } = self;
        let sessions = edge.sessions.clone();
        tokio::spawn(Arc::clone(&keeper).tell());
        tokio::spawn(keeper.watch(sessions.clone()));
        tokio::spawn(Arc::clone(&edge.desk).serve());
        tokio::spawn(Arc::clone(&edge.budget).note());
        if let Some(teller) = teller {
            tokio::spawn(teller.tell(sessions.clone()));
        }
        tokio::spawn(archiver.run(drain.subscribe()));
        tokio::spawn(Arc::clone(&edge.erasures).walk(drain.subscribe()));
        if let Some(exporter) = control {
            let data = config.node.data.clone();
            tokio::spawn(async move { moving::serve(&data, exporter).await });
        }
        // Kept to the end: whoever starts under this name later is answered.
        let namesakes = namesakes.map(Arc::new);
        tokio::spawn(recover(Arc::clone(&edge), namesakes.clone(), clock::now_ms()));
        let (phase, phases) = watch::channel(Phase::Working);
        let name = local::name_in(&edge.node);
        let runs = Arc::new(LocalRuns { desk: Arc::clone(&edge.desk), sessions: sessions.clone(), name });
        let worker = tokio::spawn(worker::work(runs, model, config.runs.worker_slots, phases));
        let router = http::router(Arc::clone(&edge), metrics);
        // Whoever asks in a drain is told about it.
        let (close, closing) = watch::channel(false);
        let http = tokio::spawn(http::serve(http, router, config.limits.clone(), told(closing.clone())));
        let grpc = tokio::spawn(grpc::serve(Arc::clone(&edge), grpc, told(closing)));
        stop.await;
        tracing::info!("draining");
        let drain_max = Duration::from_millis(config.node.drain_ms_max);
        let (deadline, leave_within) = (Instant::now() + drain_max, drain_max.mul_f64(LEAVE_WITHIN));
        drain.send_replace(true);
        // What its worker writes goes to another one at once, as long as that can still be said in the log.
        phase.send_replace(Phase::Stopping);
        if tokio::time::timeout(leave_within, worker).await.is_err() {
            tracing::warn!("some runs could not be given up in time; they are tried again");
        }
        // Clients are told to come back; then the sessions keep their states.
        let left = edge.connections.acquire_many(u32::try_from(config.limits.connections_max).unwrap_or(u32::MAX));
        if tokio::time::timeout(leave_within, left).await.is_err() {
            tracing::warn!("some clients did not leave in time");
        }
        if !sessions.drain(deadline).await {
            tracing::warn!("some sessions did not keep their state in time; the log has everything");
        }
        edge.budget.note_now().await;
        log.close().await;
        close.send_replace(true);
        let _ = tokio::time::timeout_at(deadline, async { tokio::join!(http, grpc) }).await;
        tracing::info!("drained");
        Ok(())
    }
}

/// Brings the sessions with open runs into memory, so that their runs are offered again. What the worker of this process was
/// writing when it ended is known to be lost, unless another process of this node's name may be writing it.
async fn recover(edge: Arc<Edge>, namesakes: Option<Arc<Namesakes>>, born_ms: u64) {
    let is_alone = match &namesakes {
        Some(namesakes) => namesakes.is_alone().await,
        None => true,
    };
    let mut after = None;
    loop {
        let unfinished = match edge.listings.unfinished(after.as_ref(), UNFINISHED_PAGE).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "open runs can't be listed; they wait until their sessions are read"
                );
                return;
            }
        };
        let Some(last) = unfinished.last() else { return };
        after = Some(last.clone());
        recover_all(&edge, unfinished, is_alone.then_some(born_ms)).await;
    }
}

/// `born_ms`: what was begun before, under this node's name, is lost.
async fn recover_all(edge: &Edge, unfinished: Vec<SessionKey>, born_ms: Option<u64>) {
    let name = local::name_in(&edge.node);
    // What the worker of this process has begun since is not lost.
    let is_lost = |run: &Run| {
        run.status == RunStatus::Running
            && run.worker.as_deref() == Some(&name)
            && run.started_at_ms.zip(born_ms).is_some_and(|(at, born_ms)| at < born_ms)
    };
    for session in unfinished {
        let Some(looked) = brought(edge, &session).await else { continue };
        // Its last row was not kept: the list would tell of runs, and bring it into memory at each start, until somebody writes to it.
        if looked.view.open_runs().next().is_none()
            && let Err(error) = edge.sessions.settle(&session, looked.offset).await
        {
            tracing::warn!(%session, error = &error as &dyn std::error::Error, "the list still tells of runs that have ended");
        }
        for run in looked.view.open_runs().filter(|run| is_lost(run)) {
            let Some(attempt) = run.attempt.clone() else { continue };
            let action = Action::LoseAttempt(AttemptLost { run: run.id.clone(), attempt });
            let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action };
            if let Err(error) = edge.sessions.submit(&session, command, None, Offset::NONE).await {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "lost attempt not ended yet");
            }
        }
    }
}

/// The session in memory. One that takes its time, or finds no room yet, is asked for again.
async fn brought(edge: &Edge, session: &SessionKey) -> Option<Looked> {
    for _ in 0..BRING_TRIES {
        match edge.sessions.look(session, Offset::NONE, usize::MAX).await {
            Ok(looked) => return Some(looked),
            Err(HostError::Busy) => tokio::time::sleep(BRING_AGAIN).await,
            Err(_) => return None,
        }
    }
    None
}

/// Whether a node of this configuration could open, as far as this machine alone can tell.
pub fn check(config: &Config) -> anyhow::Result<()> {
    config.check()?;
    model::open(&config.runs, &config.models)?;
    authenticator(config)?;
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

async fn told(mut draining: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = draining.wait_for(|draining| *draining).await;
}

fn patience(config: &Config) -> Patience {
    Patience {
        silence_max: Duration::from_millis(config.runs.silence_ms_max),
        queued_max: Duration::from_millis(config.runs.queued_ms_max),
    }
}

fn authenticator(config: &Config) -> anyhow::Result<Authenticator> {
    if config.auth.keys.is_empty() {
        return Ok(Authenticator::Open);
    }
    Ok(Authenticator::Jwt(Arc::new(JwtKeys::load(&config.auth.keys)?)))
}
