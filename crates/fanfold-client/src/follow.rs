//! Following a session through whatever happens to the connection.

use std::time::Duration;

use fanfold_fold::{DeltaError, SessionId, View};
use fanfold_wire::convert::{FieldError, delta};
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{ErrorCode, Retry, v1};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::link::{Dialer, Link, LinkError, Transport};

/// Without any frame for so long the connection is taken for dead; nodes ping more often.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// How to follow.
#[derive(Debug, Clone, Default)]
pub struct FollowOptions {
    /// Over what.
    pub transport: Transport,
    /// Where to begin.
    pub start: Start,
    /// Whole parts at most ten times a second, instead of every change.
    pub full: bool,
    /// Messages of a snapshot; 0 stands for 100.
    pub window: u32,
    /// Gives up after so many connections in a row that came to nothing; `None`: never.
    pub tries_max: Option<u32>,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With a snapshot of now.
    #[default]
    Now,
    /// After this cursor; the state there must be given to [`Follow::with_view`] to apply deltas to.
    Cursor(String),
    /// With the state at this offset, then every record.
    Replay(u64),
}

/// What a follower learns.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A connection was made and answered.
    Subscribed {
        /// How.
        how: v1::How,
        /// Why a snapshot follows instead of what was missed.
        reset: v1::ResetReason,
    },
    /// The view has changed; the frame says what.
    Changed {
        /// A delta, or a snapshot that replaced everything.
        frame: Box<Frame>,
    },
    /// Who is there.
    Presence(v1::Presence),
    /// The node has lost its log (true), or has it again. While it is away the view stands still, whatever happens elsewhere.
    LogAway(bool),
    /// The connection was lost; the next one is made after this time.
    Lost {
        /// What happened.
        why: String,
        /// The wait.
        after: Duration,
    },
    /// Nothing more will come. The last update.
    Closed(v1::Closed),
}

/// Following has ended otherwise than by the session's end.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The node refused for good.
    #[error("{message}")]
    Refused {
        /// Its code, as in docs/errors.md.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// Too many connections in a row came to nothing.
    #[error("the node can't be reached: {0}")]
    Unreachable(String),
}

/// A session that is followed.
pub struct Follow {
    dialer: Dialer,
    session: SessionId,
    options: FollowOptions,
    view: View,
    cursor: Option<String>,
    /// The last cursor that was news.
    reached: Option<String>,
    replay: Option<u64>,
    link: Option<Link>,
    connect_at: Instant,
    backoff: Backoff,
    tries: u32,
    done: bool,
    log_away: bool,
}

/// What was wrong with a frame.
enum Misfit {
    Field(FieldError),
    Delta(DeltaError),
    /// It doesn't begin where this reader is.
    Gap,
}

impl Follow {
    pub(crate) fn new(dialer: Dialer, session: SessionId, options: FollowOptions) -> Self {
        let (cursor, replay) = match &options.start {
            Start::Now => (None, None),
            Start::Cursor(cursor) => (Some(cursor.clone()), None),
            Start::Replay(offset) => (None, Some(*offset)),
        };
        Self {
            dialer,
            session,
            options,
            view: View::default(),
            reached: cursor.clone(),
            cursor,
            replay,
            link: None,
            connect_at: Instant::now(),
            backoff: Backoff::default(),
            tries: 0,
            done: false,
            log_away: false,
        }
    }

    /// The state at the cursor that following begins with.
    #[must_use]
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// The session as of the last update.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where this follower is; none before the first snapshot.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Drops the connection, as a lost network does. The next update comes over another one, from the same cursor.
    pub fn cut(&mut self) {
        self.link = None;
        self.connect_at = Instant::now();
    }

    /// The same over another transport from now on.
    pub fn switch(&mut self, transport: Transport) {
        self.options.transport = transport;
        self.cut();
    }

    /// The next update. Cancel-safe. After [`Update::Closed`] it never returns.
    pub async fn next(&mut self) -> Result<Update, FollowError> {
        loop {
            if self.done {
                std::future::pending::<()>().await;
            }
            let update = match self.frame().await {
                Ok(frame) => self.take(frame)?,
                Err(error) => Some(self.lose(error)?),
            };
            if let Some(update) = update {
                return Ok(update);
            }
        }
    }

    async fn frame(&mut self) -> Result<v1::ServerFrame, LinkError> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                tokio::time::sleep_until(self.connect_at).await;
                let request = self.request();
                let link = Link::open(self.options.transport, &self.dialer, request).await?;
                self.link.insert(link)
            }
        };
        let frame = tokio::time::timeout(SILENCE_MAX, link.next()).await;
        frame.unwrap_or_else(|_| Err(LinkError::Lost("nothing came for too long".into())))
    }

    fn request(&self) -> v1::Subscribe {
        let mode = if self.options.full { v1::Mode::Full } else { v1::Mode::Deltas };
        v1::Subscribe {
            session: self.session.to_string(),
            cursor: self.cursor.clone(),
            mode: mode.into(),
            window: self.options.window,
            replay: self.replay.filter(|_| self.cursor.is_none()),
        }
    }

    /// What a frame means to this follower; `None`: nothing it need be told of.
    fn take(&mut self, frame: v1::ServerFrame) -> Result<Option<Update>, FollowError> {
        let Some(frame) = frame.frame else { return Ok(None) };
        match frame {
            Frame::Subscribed(subscribed) => {
                let (how, reset) = (subscribed.how(), subscribed.reset_reason());
                if how == v1::How::Resumed && self.cursor.as_deref() != Some(&subscribed.cursor) {
                    return self.start_over("resumed elsewhere").map(Some);
                }
                Ok(Some(Update::Subscribed { how, reset }))
            }
            Frame::Snapshot(snapshot) => self.replace(snapshot).map(Some),
            Frame::Delta(delta) => self.advance(delta).map(Some),
            Frame::Presence(presence) => Ok(Some(Update::Presence(presence))),
            Frame::Closed(closed) => {
                self.done = true;
                self.link = None;
                Ok(Some(Update::Closed(closed)))
            }
            Frame::Draining(draining) => {
                self.link = None;
                let after = Duration::from_millis(u64::from(draining.reconnect_after_ms));
                self.connect_at = Instant::now() + after;
                Ok(Some(Update::Lost { why: "the node is going away".into(), after }))
            }
            Frame::Error(error) => {
                let v1::Error { code, message, retry_after_ms, .. } = error;
                self.lose(LinkError::Refused { code, message, retry_after_ms }).map(Some)
            }
            Frame::Ping(ping) => {
                let changed = std::mem::replace(&mut self.log_away, ping.log_away) != ping.log_away;
                Ok(changed.then_some(Update::LogAway(ping.log_away)))
            }
            Frame::Welcome(_) | Frame::CaughtUp(_) | Frame::Receipt(_) | Frame::SnapshotPart(_) | Frame::Listed(_) => Ok(None),
        }
    }

    fn replace(&mut self, snapshot: v1::Snapshot) -> Result<Update, FollowError> {
        match View::try_from(snapshot.view.clone().unwrap_or_default()) {
            Ok(view) => self.view = view,
            Err(error) => return self.start_over(&error.to_string()),
        }
        self.progress(&snapshot.cursor);
        Ok(Update::Changed { frame: Box::new(Frame::Snapshot(snapshot)) })
    }

    fn advance(&mut self, frame: v1::Delta) -> Result<Update, FollowError> {
        let applied = match self.cursor.as_deref() {
            Some(cursor) if cursor == frame.after => {
                delta(frame.ops.clone()).map_err(Misfit::Field).and_then(|delta| self.view.apply(&delta).map_err(Misfit::Delta))
            }
            Some(_) | None => Err(Misfit::Gap),
        };
        match applied {
            Ok(()) => {
                self.progress(&frame.cursor);
                Ok(Update::Changed { frame: Box::new(Frame::Delta(frame)) })
            }
            Err(Misfit::Gap) => self.start_over("a delta doesn't follow on"),
            Err(Misfit::Field(error)) => self.start_over(&error.to_string()),
            Err(Misfit::Delta(error)) => self.start_over(&error.to_string()),
        }
    }

    /// What it had before already is no progress.
    fn progress(&mut self, cursor: &str) {
        self.cursor = Some(cursor.to_owned());
        if self.reached != self.cursor {
            self.reached.clone_from(&self.cursor);
            self.backoff.reset();
            self.tries = 0;
        }
    }

    /// The view is of no further use: a snapshot must replace it.
    fn start_over(&mut self, why: &str) -> Result<Update, FollowError> {
        tracing::warn!(session = %self.session, why, "beginning again with a snapshot");
        self.cursor = None;
        self.replay = None;
        self.lose(LinkError::Lost(why.to_owned()))
    }

    fn reconnect(&mut self, why: String, after: Duration) -> Update {
        self.link = None;
        self.connect_at = Instant::now() + after;
        Update::Lost { why, after }
    }

    /// Decides whether to come back.
    fn lose(&mut self, error: LinkError) -> Result<Update, FollowError> {
        self.link = None;
        self.tries += 1;
        let (why, least) = match error {
            LinkError::Lost(why) => (why, 0),
            LinkError::Refused { code, message, retry_after_ms } => {
                match ErrorCode::from_name(&code).map(|code| code.row().retry) {
                    Some(Retry::Later | Retry::Resume) => (message, retry_after_ms),
                    Some(Retry::No | Retry::WithToken) | None => return Err(FollowError::Refused { code, message }),
                }
            }
        };
        if self.options.tries_max.is_some_and(|max| self.tries >= max) {
            return Err(FollowError::Unreachable(why));
        }
        let after = self.backoff.wait().max(Duration::from_millis(u64::from(least)));
        Ok(self.reconnect(why, after))
    }
}
