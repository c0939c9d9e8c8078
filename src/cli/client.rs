//! Talks to a running agent over its HTTP API.

use std::time::Duration;

use serde_json::Value;

use super::CliError;

/// Where the agent is, and the token if it wants one.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// Address of the agent's API.
    #[arg(long, env = "RIVETWATCH_AGENT", default_value = "http://127.0.0.1:6440")]
    agent: String,
    /// File with the bearer token of the API.
    #[arg(long, env = "RIVETWATCH_TOKEN_FILE")]
    token_file: Option<std::path::PathBuf>,
}

/// A request that was answered.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl AgentArgs {
    /// An agent at this address, for commands whose flag for it is another.
    pub fn new(agent: String, token_file: Option<std::path::PathBuf>) -> Self {
        Self { agent, token_file }
    }

    /// `GET path?query`, answered with JSON.
    ///
    /// # Errors
    /// No connection, or an error status, whose message is passed on.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        let answer = self.send(reqwest::Method::GET, path, query, None)?;
        self.json(path, answer)
    }

    /// `POST path` with a JSON body, answered with JSON.
    ///
    /// # Errors
    /// No connection, or an error status, whose message is passed on.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let answer = self.send(reqwest::Method::POST, path, &[], Some(body))?;
        self.json(path, answer)
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// No connection, or an error status, whose message is passed on.
    pub fn delete(&self, path: &str) -> Result<Value, CliError> {
        let answer = self.send(reqwest::Method::DELETE, path, &[], None)?;
        self.json(path, answer)
    }

    /// Any request; error statuses are left to the caller.
    ///
    /// # Errors
    /// No connection within five seconds, or no answer within thirty.
    pub fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, CliError> {
        let token = match &self.token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|e| CliError::Usage(format!("failed to read the token file `{}`: {e}", file.display())))?,
            ),
            None => None,
        };
        let mut url = reqwest::Url::parse(&self.agent)
            .and_then(|base| base.join(path))
            .map_err(|e| CliError::Usage(format!("`{}` is not the address of an agent: {e}", self.agent)))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let work = async {
            let client = reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(30))
                .build()?;
            let mut request = client.request(method, url);
            if let Some(token) = token {
                request = request.bearer_auth(token.trim());
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = request.send().await?;
            Ok::<_, reqwest::Error>(Answer { status: response.status().as_u16(), body: response.text().await? })
        };
        super::block_on(work)?.map_err(|e| {
            let hint = if e.is_connect() { "; is it running? Start it with `rivetwatch run`" } else { "" };
            CliError::Failed(format!("failed to reach the agent at {}{hint}: {}", self.agent, crate::model::chain(&e)))
        })
    }

    fn json(&self, path: &str, answer: Answer) -> Result<Value, CliError> {
        let value: Value = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
        if answer.status < 400 {
            return Ok(value);
        }
        let message = value.get("error").unwrap_or(&value);
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        Err(CliError::Failed(format!("the agent answered {} to {path}: {message}", answer.status)))
    }
}
