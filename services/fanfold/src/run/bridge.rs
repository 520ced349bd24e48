//! Answers runs with models of providers, step by step: a model that calls tools gets their results and goes on.
//!
//! ```text
//! look ── model ── Finished(stop) ─────────────────────────── completed
//!   ↑       └───── Finished(tool_calls) ── nobody's tools ── completed(tool_calls): the application answers
//!   │                        └─ step_finished ── tools ── results ─┐
//!   └──────────────────────────────────────────────────────────────┘   at most `steps_max` times
//! ```

use std::time::Duration;

use fanfold_fold::{Custom, Failed, Run, Said, StepFinished};
use fanfold_models::{Answer, ConfigError, Conversation, Cost, ModelEvent, ModelsConfig, NoAnswer, Route, Router, Tools, Usage};
use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::config::RunConfig;
use crate::run::model::{Model, PIECES_MAX, unreadable};
use crate::run::said::{finish, groups, said};
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
        Ok(Self {
            router: Router::new(models)?,
            tools: Tools::new(&models.tools)?,
            steps_max: runs.steps_max,
            approval_max: Duration::from_millis(runs.approval_ms_max),
        })
    }

    async fn run(&self, job: &dyn Job) -> Result<(), Over> {
        let model = self.name(job.run());
        let mut spent = Spent::default();
        for step in 1..=self.steps_max {
            // Also what people have added meanwhile.
            let Ok(view) = job.look().await else { return say(job, vec![unreadable()]).await };
            let budget = self.router.context_tokens_max(model).unwrap_or(CONTEXT_TOKENS);
            // Erased meanwhile.
            let Some(conversation) = Conversation::of(&view, &job.run().id, budget) else { return Err(Over) };
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
            let ((), answered) = tokio::join!(job.note(route), self.stream(job, answer, &mut spent));
            let Step { end, calls, cost } = answered?;
            if let Some(cost) = cost {
                spent.nanos = spent.nanos.saturating_add(cost.nanos);
                job.note(cost_fact(job.run(), step, cost.nanos, spent.nanos)).await;
            }
            match end {
                Some(ModelEvent::Finished(reason)) if calls.wait_for_us(&reason, &self.tools) => {
                    say(job, vec![StepFinished { reason: finish(reason) }.into()]).await?;
                    if step == self.steps_max {
                        break;
                    }
                    run_tools(job, &self.tools, calls, self.approval_max).await?;
                }
                Some(end) => return say(job, said(vec![end])).await,
                None => return say(job, vec![failed("stream_ended", "The model stopped in mid-answer.")]).await,
            }
        }
        let message = format!("The model wanted tools in each of {} steps.", self.steps_max);
        say(job, vec![Failed { code: "too_many_steps".into(), message, retryable: false }.into()]).await
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
}

impl Spent {
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
