//! Answers runs with models of providers, step by step: a model that calls tools gets their results and goes on.
//!
//! ```text
//! look ─┬─ calls to run ── results ───────────────────────────────────────────────┐
//!   ↑   ├─ calls that wait for a person ── waiting: put down, another attempt resumes
//!   │   └─ model ── Finished(stop) ── completed, unless a person has added something ┤
//!   │        └───── Finished(tool_calls) ── nobody's tools ── completed(tool_calls): the application answers
//!   │                         └─ step_finished ───────────────────────────────────┤
//!   └─────────────────────────────────────────────────────────────────────────────┘   at most `steps_max` answers
//! ```
//!
//! What is to be done next is read from the log each time, so an attempt goes on where the one before it has finished a step.

use std::time::Duration;

use fanfold_fold::{Completed, Custom, Failed, Run, Said, StepFinished, View, Waiting};
use fanfold_models::{Answer, ConfigError, Conversation, Cost, ModelEvent, ModelsConfig, NoAnswer, Route, Router, Tools, Usage};
use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::clock;
use crate::config::RunConfig;
use crate::run::model::{Model, PIECES_MAX, unreadable};
use crate::run::progress::Progress;
use crate::run::said::{finish, groups, said};
use crate::run::title::Titles;
use crate::run::tools::{Calls, run_tools};
use crate::run::worker::{Job, failed};

/// The kinds of the facts that stand beside a run's words: which way a request went, and what an answer cost.
const ROUTE: &str = "fanfold.route";
const COST: &str = "fanfold.cost";

/// Tokens of history where no endpoint says how many it takes; the request fails anyway.
const CONTEXT_TOKENS: u64 = 100_000;

/// What the attempt says no longer counts.
pub(super) struct Over;

/// See the module.
pub(super) struct Bridge {
    router: Router,
    tools: Tools,
    titles: Option<Titles>,
    steps_max: u32,
    approval_max: Duration,
}

/// What a run has cost so far.
#[derive(Default)]
struct Spent {
    usage: Usage,
    nanos: u64,
}

/// How one answer of the model ended.
struct Step {
    /// The terminal event; nothing if the stream broke its promise and ended without.
    end: Option<ModelEvent>,
    calls: Calls,
    cost: Option<Cost>,
}

impl Bridge {
    /// Checks the configuration and reads the keys. Nothing is called yet.
    pub(super) fn open(runs: &RunConfig, models: &ModelsConfig) -> Result<Self, ConfigError> {
        let router = Router::new(models)?;
        Ok(Self {
            titles: models.title.as_ref().map(|config| Titles::new(config, &router)).transpose()?,
            router,
            tools: Tools::new(&models.tools)?,
            steps_max: runs.steps_max,
            approval_max: Duration::from_millis(runs.approval_ms_max),
        })
    }

    async fn run(&self, job: &dyn Job) -> Result<(), Over> {
        let model = self.name(job.run());
        let mut spent = None;
        loop {
            // Also what people have added meanwhile.
            let Ok(view) = job.look().await else { return say(job, vec![unreadable()]).await };
            // Ended, put down, another attempt's, or erased.
            let progress = Progress::of(&view, job.run(), job.attempt()).ok_or(Over)?;
            let spent = spent.get_or_insert_with(|| Spent::before(&view, job.run()));
            let step = progress.steps + 1;
            if step > self.steps_max {
                return say(job, vec![self.too_many_steps()]).await;
            }
            if !progress.ready.is_empty() {
                run_tools(job, &self.tools, progress.ready).await?;
                continue;
            }
            if !progress.awaited.is_empty() {
                say(job, vec![self.waiting(progress.awaited, job.run())]).await?;
                continue;
            }
            let budget = self.router.context_tokens_max(model).unwrap_or(CONTEXT_TOKENS);
            let reasoning = self.router.takes_reasoning(model);
            // Erased meanwhile.
            let Some(conversation) = Conversation::of(&view, &job.run().id, budget, reasoning) else { return Err(Over) };
            drop(view);
            let answer = match self.router.answer(model, &conversation, self.tools.specs()).await {
                Ok(answer) => answer,
                Err(NoAnswer { why, route }) => {
                    job.note(route_fact(job.run(), step, &route)).await;
                    return say(job, said(vec![ModelEvent::Failed(why.failure())])).await;
                }
            };
            drop(conversation);
            let route = route_fact(job.run(), step, answer.route());
            // The first word doesn't wait until that is kept.
            let ((), answered) = tokio::join!(job.note(route), self.stream(job, answer, spent));
            let Step { end, calls, cost } = answered?;
            if let Some(cost) = cost {
                spent.nanos = spent.nanos.saturating_add(cost.nanos);
                job.note(cost_fact(job.run(), step, cost.nanos, spent.nanos)).await;
            }
            match end {
                Some(ModelEvent::Finished(reason)) if calls.wait_for_us(&reason, &self.tools) => {
                    say(job, vec![StepFinished { reason: finish(reason) }.into()]).await?;
                }
                Some(ModelEvent::Finished(reason)) => {
                    // What nobody reads any more stands in the history of the next run.
                    let steered = (step < self.steps_max).then_some(progress.steered);
                    say(job, vec![Completed { reason: finish(reason), steered }.into()]).await?;
                }
                Some(end) => return say(job, said(vec![end])).await,
                None => return say(job, vec![failed("stream_ended", "The model stopped in mid-answer.")]).await,
            }
        }
    }

    fn too_many_steps(&self) -> Said {
        let message = format!("The model wanted tools in each of {} steps.", self.steps_max);
        Failed { code: "too_many_steps".into(), message, retryable: false }.into()
    }

    /// Calls that waited already when the run was taken wait until the same time: a decision about another one gives them no more.
    fn waiting(&self, calls: Vec<String>, taken: &Run) -> Said {
        let before = taken.waiting.as_ref().filter(|before| calls.iter().all(|call| before.calls.contains(call)));
        let approval_ms = u64::try_from(self.approval_max.as_millis()).unwrap_or(u64::MAX);
        let until_ms = before.map_or_else(|| clock::now_ms().saturating_add(approval_ms), |before| before.until_ms);
        Waiting { calls, until_ms }.into()
    }

    /// Says what the model says up to its end, which is kept back. What comes while an append is under way goes into the next.
    async fn stream(&self, job: &dyn Job, mut answer: Answer, spent: &mut Spent) -> Result<Step, Over> {
        let mut calls = Calls::default();
        let mut end = None;
        while let Some(first) = answer.next().await {
            let mut events = vec![first];
            while events.len() < PIECES_MAX
                && let Some(Some(event)) = answer.next().now_or_never()
            {
                events.push(event);
            }
            end = events.pop_if(|event| event.is_terminal());
            for event in &mut events {
                calls.heed(event);
                if let ModelEvent::Usage(usage) = event {
                    spent.add(usage);
                    *usage = spent.usage;
                }
            }
            let mut said = said(events);
            said.iter_mut().for_each(|said| self.mark(said));
            say(job, said).await?;
            if end.is_some() {
                break;
            }
        }
        Ok(Step { end, calls, cost: answer.cost() })
    }

    /// Shows of a call that a person must allow it, from its beginning.
    fn mark(&self, said: &mut Said) {
        if let Said::ToolCall(started) = said {
            started.needs_approval = self.tools.needs_approval(&started.name);
        }
    }
}

#[async_trait::async_trait]
impl Model for Bridge {
    fn name<'a>(&'a self, run: &'a Run) -> &'a str {
        run.model.as_deref().or(self.router.default_model()).unwrap_or_default()
    }

    async fn answer(&self, job: &dyn Job) {
        // What no longer counts is no failure of anybody's.
        let _ = self.run(job).await;
    }

    fn resumes(&self) -> bool {
        true
    }

    async fn title(&self, job: &dyn Job) {
        if let Some(titles) = &self.titles {
            titles.find(job, &self.router).await;
        }
    }
}

impl Spent {
    /// What the steps have cost that this attempt goes on after.
    fn before(view: &View, run: &Run) -> Self {
        let usage = view.run(&run.id).and_then(|run| run.usage).unwrap_or_default();
        let fanfold_fold::Usage { input, output, reasoning, cached_input } = usage;
        let cost = view.custom.get(COST).and_then(|cost| serde_json::from_slice::<Value>(&cost.payload).ok());
        let cost = cost.filter(|cost| cost["run"] == run.id.as_str() && view.run(&run.id).is_some_and(|run| run.usage.is_some()));
        let nanos = cost.and_then(|cost| cost["total_nanos"].as_u64()).unwrap_or(0);
        Self { usage: Usage { input, output, reasoning, cached_input }, nanos }
    }

    fn add(&mut self, usage: &Usage) {
        let Usage { input, output, reasoning, cached_input } = &mut self.usage;
        *input = input.saturating_add(usage.input);
        *output = output.saturating_add(usage.output);
        *reasoning = reasoning.saturating_add(usage.reasoning);
        *cached_input = cached_input.saturating_add(usage.cached_input);
    }
}

/// Appends in pieces that fit a record each.
pub(super) async fn say(job: &dyn Job, said: Vec<Said>) -> Result<(), Over> {
    for said in groups(said) {
        if !job.say(said).await {
            return Err(Over);
        }
    }
    Ok(())
}

/// The way to an answer. What providers say of their failures stays out of it: it may hold a user's words.
fn route_fact(run: &Run, step: u32, route: &Route) -> Custom {
    let mut route = serde_json::to_value(route).unwrap_or_default();
    for passed in route["passed"].as_array_mut().into_iter().flatten() {
        passed.as_object_mut().map(|passed| passed.remove("message"));
    }
    route["run"] = run.id.as_str().into();
    route["step"] = step.into();
    fact(ROUTE, &route)
}

fn cost_fact(run: &Run, step: u32, nanos: u64, total_nanos: u64) -> Custom {
    fact(COST, &json!({ "run": run.id.as_str(), "step": step, "nanos": nanos, "total_nanos": total_nanos }))
}

fn fact(kind: &str, value: &Value) -> Custom {
    Custom { kind: kind.into(), content_type: "application/json".into(), payload: value.to_string().into_bytes() }
}
