//! The address of a database, out of its URL.

/// Where a database is, taken from its URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseAddress {
    pub hosts: Vec<(String, u16)>,
    pub has_password: bool,
}

impl DatabaseAddress {
    /// Reads `postgres://user:password@host1:port,host2/db?…`; `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (user, hosts),
            None => ("", authority),
        };
        let host = |host: &str| match host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') => port.parse().ok().map(|port| (name.to_owned(), port)),
            _ => Some((host.to_owned(), 5432)),
        };
        let hosts: Option<Vec<_>> = hosts.split(',').map(host).collect();
        Some(Self { hosts: hosts?, has_password: user.split_once(':').is_some_and(|(_, p)| !p.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_addresses_are_taken_from_their_url() {
        let parse = |url: &str| DatabaseAddress::parse(url).unwrap();
        assert_eq!(parse("postgresql://u:p@db:6432/x").hosts, [("db".to_owned(), 6432)]);
        assert!(parse("postgres://u:p@db/x").has_password && !parse("postgres://u@db/x").has_password);
        assert_eq!(parse("postgres://a,b:5433/x?sslmode=require").hosts.len(), 2);
        assert_eq!(DatabaseAddress::parse("mysql://a/b"), None);
    }
}
