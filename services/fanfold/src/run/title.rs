//! A title for a session, asked of a model once the first answer is there. It costs nobody anything: it comes after the run, within limits,
//! and where it fails the session keeps its first words. Whether it counts is decided by the log: what a person called it stays.

use std::time::Duration;

use fanfold_fold::{Message, Part, Run, RunStatus, View};
use fanfold_models::{ConfigError, Conversation, FinishReason, ModelEvent, Router, TitleConfig, Turn};

use crate::run::worker::Job;

/// What the model is told to do.
const ASK: &str = "Name the conversation below in at most six words, in its own language. \
                   Answer with the name alone: no quotation marks, no full stop, no explanation.";

/// Bytes of each side's words that the model reads.
const READ_BYTES_MAX: usize = 4_000;

/// Bytes of a token, as an estimate.
const BYTES_PER_TOKEN: u64 = 4;

/// Characters of a title.
const CHARS_MAX: usize = 80;

/// See the module.
pub(super) struct Titles {
    config: TitleConfig,
}

impl Titles {
    /// Checks that there is such a model.
    pub(super) fn new(config: &TitleConfig, router: &Router) -> Result<Self, ConfigError> {
        if !router.models().any(|model| model == config.model) {
            let (of, key, value) = ("title".into(), "model", config.model.clone());
            return Err(ConfigError::Value { of, key, value });
        }
        Ok(Self { config: config.clone() })
    }

    /// Finds one, if this run was the session's first exchange and nobody has named it.
    pub(super) async fn find(&self, job: &dyn Job, router: &Router) {
        let Ok(view) = job.look().await else { return };
        let Some(exchange) = first_exchange(&view, job.run()) else { return };
        drop(view);
        let asked = tokio::time::timeout(Duration::from_millis(self.config.total_ms_max), self.ask(router, exchange)).await;
        let title = asked.ok().flatten();
        let outcome = if title.is_some() { "found" } else { "failed" };
        metrics::counter!("fanfold_titles_total", "outcome" => outcome).increment(1);
        if let Some(title) = title {
            job.title(title).await;
        }
    }

    /// What the model says, if it is a title. Dropping the answer closes the connection.
    async fn ask(&self, router: &Router, exchange: String) -> Option<String> {
        let conversation = Conversation::new(ASK, vec![Turn::user(exchange)]);
        let mut answer = router.answer(&self.config.model, &conversation, &[]).await.ok()?;
        let mut left = self.config.tokens_max.saturating_mul(BYTES_PER_TOKEN);
        let mut said = String::new();
        loop {
            let more = match answer.next().await? {
                ModelEvent::Text(text) => {
                    said += &text;
                    text.len()
                }
                ModelEvent::Reasoning(text) => text.len(),
                ModelEvent::Finished(FinishReason::Stop) => return tidy(&said),
                ModelEvent::Finished(_) | ModelEvent::Failed(_) => return None,
                _ => 0,
            };
            left = left.checked_sub(more as u64)?;
        }
    }
}

/// What was said in the only run so far that was answered, unless a person has named the session.
fn first_exchange(view: &View, run: &Run) -> Option<String> {
    let named = view.session.title.is_some() && !view.session.title_automatic;
    let mut answered = view.runs.iter().filter(|run| run.status == RunStatus::Completed);
    let first = answered.next().is_some_and(|first| first.id == run.id) && answered.next().is_none();
    if named || !first {
        return None;
    }
    let asked = words(view.messages.get(&run.prompt)?);
    let answer = words(view.messages.get(&run.reply)?);
    (!asked.is_empty()).then(|| format!("User:\n{asked}\n\nAssistant:\n{answer}"))
}

fn words(message: &Message) -> String {
    let texts = message.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text.text.as_str()) } else { None });
    let text = texts.collect::<Vec<_>>().join("\n");
    text[..text.floor_char_boundary(READ_BYTES_MAX)].trim().to_owned()
}

/// The first line, without what models put around a title; nothing if that is none.
fn tidy(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty())?;
    let bare = line.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '“' | '”' | '«' | '»' | '„' | '*' | '#' | '`' | '.') || c.is_whitespace()
    });
    let title = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = !title.is_empty() && title.chars().count() <= CHARS_MAX;
    fits.then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_bare_line_of_some_length() {
        let check = |said: &str, expected: Option<&str>| assert_eq!(tidy(said).as_deref(), expected, "{said:?}");
        check("Weather in Oslo", Some("Weather in Oslo"));
        check("\n  **\"Weather  in Oslo.\"**\nBecause …", Some("Weather in Oslo"));
        check("# Größe", Some("Größe"));
        check(" \n\"\"", None);
        check(&"word ".repeat(40), None);
    }
}
