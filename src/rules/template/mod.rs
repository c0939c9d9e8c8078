//! Annotation and label templates: Go's template language with Prometheus' functions and variables.
//!
//! In:  the text, the labels and value of one alert, and an answerer for `query`.   Out: the rendered text.
//! Always: `$labels`, `$value`, `$externalLabels`, `$externalURL` are set; a missing label prints nothing.
//! Limits: 100 queries and 100,000 loop rounds a rendering; the result is cut at 64 KiB.

mod compile;
mod functions;
mod humanize;
mod layout;
mod moment;
mod number;
mod printf;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use parking_lot::Mutex;

use crate::model::{Labels, TimestampMs};
use functions::string;
use session::Session;

pub use functions::table_link;
pub use number::shortest as format_float;

const QUERIES_MAX: usize = 100;
const ROUNDS_MAX: u64 = 100_000;
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Why a template could not be read or rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template, or names an unknown function or variable.
    #[error("error parsing template {name}: {reason}")]
    Parse { name: String, reason: String },
    /// It could not be rendered with the data it met.
    #[error("error executing template {name}: {reason}")]
    Execute { name: String, reason: String },
}

/// How a text begins that stands in place of one that could not be rendered, as in Prometheus.
const FAILED: &str = "<error expanding template:";

/// Whether a label or annotation holds the error of its template.
pub fn is_failed(text: &str) -> bool {
    text.contains(FAILED)
}

/// What a template is rendered with.
pub struct Data<'a> {
    pub labels: &'a Labels,
    pub value: f64,
    pub external_labels: &'a Labels,
    pub external_url: &'a str,
    /// The time of evaluation.
    pub now: TimestampMs,
}

/// Answers the `query` function: the samples of an instant query, or why there are none.
pub type Answerer<'a> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'a;

/// A text of a rule, ready to be rendered.
pub struct Template {
    name: String,
    text: String,
    /// `None` for a text without actions, which is most of them.
    program: Option<Program>,
}

struct Program {
    template: gotmpl::Template,
    session: Arc<Session>,
    /// One rendering at a time: the session belongs to it.
    turn: Mutex<()>,
}

impl Template {
    /// Reads a template of the alert `alertname`.
    ///
    /// # Errors
    /// The text does not parse, or names a function or variable that does not exist.
    pub fn parse(alertname: &str, text: &str) -> Result<Self, TemplateError> {
        let name = format!("__alert_{alertname}");
        if !text.contains("{{") {
            return Ok(Self { name, text: text.to_owned(), program: None });
        }
        let (tree, named) = compile::compile(&name, text)
            .map_err(|e| TemplateError::Parse { name: name.clone(), reason: e.to_string() })?;
        let session = Arc::new(Session::default());
        let mut template = gotmpl::Template::new(&name).max_range_iters(ROUNDS_MAX).funcs(functions::all(&session));
        for (define, body) in named {
            template = template.add_parse_tree(&define, body);
        }
        let template = template.add_parse_tree(&name, tree);
        Ok(Self { name, text: text.to_owned(), program: Some(Program { template, session, turn: Mutex::new(()) }) })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text holds an action; one without is always rendered as it stands.
    pub fn is_dynamic(&self) -> bool {
        self.program.is_some()
    }

    /// Whether rendering may call `query`.
    pub fn may_query(&self) -> bool {
        self.is_dynamic() && self.text.contains("query")
    }

    /// Renders the text.
    ///
    /// # Errors
    /// A function failed, or a limit was reached. Callers print it as Prometheus does:
    /// `<error expanding template: …>`, see [`is_failed`].
    pub fn render(&self, data: &Data, answerer: &Answerer) -> Result<String, TemplateError> {
        let Some(program) = &self.program else { return Ok(self.text.clone()) };
        let _turn = program.turn.lock();
        program.session.begin(data.now, data.external_url);
        let root = Value::Map(Arc::new(BTreeMap::from([
            (Arc::from("Labels"), label_map(data.labels)),
            (Arc::from("ExternalLabels"), label_map(data.external_labels)),
            (Arc::from("ExternalURL"), string(data.external_url)),
            (Arc::from("Value"), Value::Float(data.value)),
        ])));
        let fail = |reason: String| TemplateError::Execute { name: self.name.clone(), reason };
        for _ in 0..=QUERIES_MAX {
            let mut out = Limited(String::new());
            let result = program.template.execute_template_fmt(&mut out, &self.name, &root);
            match (result, program.session.take_open()) {
                (_, Some(query)) => {
                    let answer = answerer(&query).map(|samples| samples_value(&samples));
                    program.session.put_answer(query, answer);
                }
                (Ok(()), None) => return Ok(out.0),
                (Err(e), None) if out.0.len() >= TEXT_BYTES_MAX => {
                    return Err(fail(format!("the text is longer than {TEXT_BYTES_MAX} bytes ({e})")));
                }
                (Err(e), None) => return Err(fail(e.to_string())),
            }
        }
        Err(fail(format!("more than {QUERIES_MAX} queries")))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

fn label_map(labels: &Labels) -> Value {
    Value::Map(Arc::new(labels.iter().map(|(n, v)| (Arc::from(n), string(v))).collect()))
}

fn samples_value(samples: &[(Labels, f64)]) -> Value {
    let items: Vec<Value> = samples
        .iter()
        .map(|(labels, v)| {
            Value::Map(Arc::new(BTreeMap::from([
                (Arc::from("Labels"), label_map(labels)),
                (Arc::from("Value"), Value::Float(*v)),
            ])))
        })
        .collect();
    Value::List(items.into())
}

/// Text that refuses to grow past the limit.
struct Limited(String);

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > TEXT_BYTES_MAX {
            self.0.extend(std::iter::repeat_n(' ', TEXT_BYTES_MAX.saturating_sub(self.0.len())));
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
