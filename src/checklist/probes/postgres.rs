//! Asks PostgreSQL about itself with a role that may read statistics (`pg_monitor`) and nothing else.
//!
//! Always: one read-only transaction a session and no session state, which a pooler would hand on to others; the password
//! appears in no error.   Limits: one deadline for all of it, 5 s a statement, 1,000 standbys.

use secrecy::SecretString;
use std::path::Path;

use crate::checklist::known::{Known, unknown};

/// Reads the URL that a file holds.
///
/// # Errors
/// The file cannot be read, or is empty.
pub fn url_of(file: &Path) -> Known<SecretString> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => {
            unknown(format!("`{}` (`check.postgres.url_file`) is empty", file.display()))
        }
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(e) => unknown(format!("`{}` (`check.postgres.url_file`) could not be read: {e}", file.display())),
    }
}

/// Asks everything.
///
/// # Errors
/// There is no connection in time, the URL is none, or this build has no client.
#[cfg(not(feature = "postgres"))]
pub async fn ask(
    _url: &SecretString,
    _ca_file: Option<&Path>,
    _timeout: std::time::Duration,
) -> Known<crate::checklist::evidence::PostgresSeen> {
    unknown("this build cannot ask PostgreSQL (cargo feature `postgres`)")
}

#[cfg(feature = "postgres")]
pub use client::ask;

#[cfg(feature = "postgres")]
mod client {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use secrecy::{ExposeSecret, SecretString};
    use tokio_postgres::config::SslMode;
    use tokio_postgres::{Client, Config, SimpleQueryMessage};
    use tokio_postgres_rustls::MakeRustlsConnect;

    use crate::checklist::evidence::{Archive, DatabaseAddress, PoolerSign, PostgresSeen, Standby};
    use crate::checklist::known::{Gap, Known, unknown};

    /// A backend that is older than our connection by more than this was there before us.
    const BACKEND_SLACK: Duration = Duration::from_secs(2);

    /// Asks everything.
    ///
    /// # Errors
    /// There is no connection in time, or the URL is none.
    pub async fn ask(url: &SecretString, ca_file: Option<&Path>, timeout: Duration) -> Known<PostgresSeen> {
        let address = address(url)?;
        let work = ask_all(url, ca_file, timeout, &address);
        // Two sessions with several short questions may take a little longer than one answer.
        match tokio::time::timeout(timeout * 3, work).await {
            Ok(seen) => seen,
            Err(_) => {
                unknown(format!("PostgreSQL at {address} gave no answer within {} ms", (timeout * 3).as_millis()))
            }
        }
    }

    fn address(url: &SecretString) -> Known<String> {
        match DatabaseAddress::parse(url.expose_secret()) {
            Some(address) => {
                let hosts: Vec<String> = address.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
                Ok(hosts.join(","))
            }
            None => {
                unknown("`check.postgres.url_file` holds no URL such as postgres://user:password@host:5432/database")
            }
        }
    }

    async fn ask_all(
        url: &SecretString,
        ca_file: Option<&Path>,
        timeout: Duration,
        address: &str,
    ) -> Known<PostgresSeen> {
        // Whether the chain must be trusted; the client library knows no such mode.
        let text = url.expose_secret();
        let verifies = ["verify-full", "verify-ca"].iter().any(|mode| text.contains(&format!("sslmode={mode}")));
        let text =
            text.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
        // The library's error could quote the URL.
        let mut config: Config = match text.parse() {
            Ok(config) => config,
            Err(_) => return unknown("`check.postgres.url_file` holds a URL with a part that is not known"),
        };
        config.connect_timeout(timeout).application_name("rivetwatch-check");
        let tls = tls(ca_file, verifies && config.get_ssl_mode() != SslMode::Disable)?;
        let first = Session::open(&config, &tls, address).await?;
        let seen = read(&first, address).await;
        let mine = first.backend().await;
        first.close().await;
        let mut seen = seen?;
        seen.pooler = pooler(&config, &tls, address, mine).await;
        Ok(seen)
    }

    /// A pooler shows by a backend that was there before us, or that serves us a second time.
    async fn pooler(
        config: &Config,
        tls: &MakeRustlsConnect,
        address: &str,
        mine: Known<Backend>,
    ) -> Known<PoolerSign> {
        let mine = mine?;
        let second = Session::open(config, tls, address).await?;
        let other = second.backend().await;
        second.close().await;
        let other = other?;
        if mine.id == other.id {
            return Ok(PoolerSign::Pooler(format!(
                "backend {} served two connections, one after the other",
                mine.id.0
            )));
        }
        Ok(match mine.is_older || other.is_older {
            true => PoolerSign::Pooler("its backend is older than the connection to it".into()),
            false => PoolerSign::Direct("each of two connections had a backend of its own".into()),
        })
    }

    /// A session in one read-only transaction, and the task that drives its socket.
    struct Session {
        client: Client,
        task: tokio::task::JoinHandle<()>,
        begun: Instant,
    }

    /// The server process that serves a session.
    struct Backend {
        /// Process id and start: what only one has.
        id: (String, String),
        /// It was there before the session was asked for.
        is_older: bool,
    }

    /// A row of text values.
    type TextRow = Vec<Option<String>>;

    impl Session {
        async fn open(config: &Config, tls: &MakeRustlsConnect, address: &str) -> Known<Self> {
            let begun = Instant::now();
            match config.connect(tls.clone()).await {
                Ok((client, connection)) => {
                    let task = tokio::spawn(async move {
                        // An error ends the connection, which its user sees.
                        let _ = connection.await;
                    });
                    let session = Self { client, task, begun };
                    // Local to the transaction, so that nothing stays behind in a pooled session.
                    session.rows("BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = '5s'").await?;
                    Ok(session)
                }
                Err(e) => unknown(format!("no session with PostgreSQL at {address}: {}", words(&e))),
            }
        }

        /// Ends the session and waits until its socket is closed, so that a pooler has its backend back.
        async fn close(self) {
            // The transaction ends with the session in any case.
            let _ = self.client.simple_query("ROLLBACK").await;
            drop(self.client);
            let _ = self.task.await;
        }

        async fn rows(&self, sql: &str) -> Known<Vec<TextRow>> {
            let messages = self.client.simple_query(sql).await.map_err(|e| Gap::new(words(&e)))?;
            let row = |message: SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|i| row.try_get(i).ok().flatten().map(str::to_owned)).collect())
                }
                _ => None,
            };
            Ok(messages.into_iter().filter_map(row).collect())
        }

        async fn row(&self, sql: &str) -> Known<TextRow> {
            self.rows(sql).await?.into_iter().next().ok_or_else(|| Gap::new("PostgreSQL gave no row"))
        }

        /// The process behind this session.
        async fn backend(&self) -> Known<Backend> {
            let row = self
                .row(
                    "SELECT pid, backend_start, extract(epoch FROM clock_timestamp() - backend_start) \
                     FROM pg_stat_get_activity(pg_backend_pid()) WHERE pid = pg_backend_pid()",
                )
                .await?;
            let age = seconds(&row, 2).unwrap_or_default();
            let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
            Ok(Backend { id: (text(0), text(1)), is_older: age > self.begun.elapsed() + BACKEND_SLACK })
        }
    }

    fn number<T: std::str::FromStr>(row: &TextRow, column: usize) -> Option<T> {
        row.get(column)?.as_deref()?.parse().ok()
    }

    fn seconds(row: &TextRow, column: usize) -> Option<Duration> {
        let seconds: f64 = number(row, column)?;
        Duration::try_from_secs_f64(seconds.max(0.0)).ok()
    }

    fn tls(ca_file: Option<&Path>, verifies: bool) -> Known<MakeRustlsConnect> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Gap::new(format!("TLS cannot be set up: {e}")))?;
        let verifier: Arc<dyn rustls::client::danger::ServerCertVerifier> = match verifies {
            true => super::super::tls::roots(ca_file, &provider)?,
            // As libpq does in every mode below `verify-ca`.
            false => Arc::new(super::super::tls::AcceptAny::new(provider)),
        };
        Ok(MakeRustlsConnect::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    }

    async fn read(session: &Session, address: &str) -> Known<PostgresSeen> {
        let at = |gap: Gap| Gap::new(format!("PostgreSQL at {address}: {gap}"));
        let row = session
            .row(
                "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('max_connections'), \
                 coalesce(current_setting('superuser_reserved_connections', true)::int, 0) \
                 + coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0), \
                 pg_has_role(current_user, 'pg_read_all_stats', 'usage'), current_setting('archive_mode', true)",
            )
            .await
            .map_err(at)?;
        let text = |column: usize| row.get(column).cloned().flatten();
        let sees_statistics = text(4).as_deref() == Some("t");
        let archive = match text(5) {
            Some(mode) => archive(session, mode).await,
            None => unknown("this server does not tell its `archive_mode`"),
        };
        let (standbys, used) = match sees_statistics {
            true => {
                let used = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
                (standbys(session).await, session.row(used).await.ok().and_then(|row| number(&row, 0)))
            }
            false => (unknown("the role may not read statistics; grant it `pg_monitor`"), None),
        };
        Ok(PostgresSeen {
            address: address.to_owned(),
            version: text(0).unwrap_or_default(),
            is_standby: text(1).as_deref() == Some("t"),
            sees_statistics,
            max_connections: number(&row, 2).ok_or_else(|| at(Gap::new("it does not tell `max_connections`")))?,
            reserved_connections: number(&row, 3).unwrap_or(0),
            used_connections: used,
            archive,
            standbys,
            pooler: unknown("whether a pooler stands in between was not tried"),
        })
    }

    async fn archive(session: &Session, mode: String) -> Known<Archive> {
        let row = session
            .row(
                "SELECT extract(epoch FROM now() - last_archived_time), extract(epoch FROM now() - last_failed_time) \
                 FROM pg_stat_archiver",
            )
            .await
            .map_err(|gap| Gap::new(format!("`pg_stat_archiver` cannot be read: {gap}")))?;
        Ok(Archive { mode, last_archived: seconds(&row, 0), last_failed: seconds(&row, 1) })
    }

    async fn standbys(session: &Session) -> Known<Vec<Standby>> {
        let rows = session
            .rows(
                "SELECT coalesce(nullif(application_name, ''), client_addr::text, 'unnamed'), coalesce(state, 'unknown'), \
                 CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::int8 END, \
                 extract(epoch FROM replay_lag) \
                 FROM pg_stat_replication WHERE application_name NOT LIKE 'pg_basebackup%' LIMIT 1000",
            )
            .await
            .map_err(|gap| Gap::new(format!("`pg_stat_replication` cannot be read: {gap}")))?;
        let standby = |row: &TextRow| Standby {
            name: row.first().cloned().flatten().unwrap_or_default(),
            state: row.get(1).cloned().flatten().unwrap_or_default(),
            lag_bytes: number::<i64>(row, 2).map(|bytes| bytes.max(0).unsigned_abs()),
            lag: seconds(row, 3),
        };
        Ok(rows.iter().map(standby).collect())
    }

    /// The server's own words, or the cause; never the configuration.
    fn words(error: &tokio_postgres::Error) -> String {
        if let Some(db) = error.as_db_error() {
            return db.message().to_owned();
        }
        match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }
    }
}
