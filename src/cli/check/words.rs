//! Names that people type, and the flags that stand for keys of the configuration.

use super::CliError;
use crate::checklist::{Category, ITEMS, Report, find_item};

/// Refuses a name that is no item, with the one it may be.
pub(super) fn check_names(names: &[String], may_be_category: bool) -> Result<(), CliError> {
    for name in names {
        let is_category = may_be_category && Category::ALL.iter().any(|c| c.as_str() == name);
        if find_item(name).is_none() && !is_category {
            let near = nearest(name, may_be_category);
            return Err(CliError::Usage(format!(
                "`{name}` is no item of the checklist{near}; `rivetwatch check --list` names them"
            )));
        }
    }
    Ok(())
}

/// The name that is nearest, where one is near.
fn nearest(name: &str, may_be_category: bool) -> String {
    let categories = Category::ALL.iter().map(|c| c.as_str()).filter(|_| may_be_category);
    let found = crate::model::nearest(name, ITEMS.iter().map(|i| i.id).chain(categories));
    found.map_or(String::new(), |known| format!(", is it `{known}`?"))
}

/// Keys that reasons name, and the flags that do the same.
const FLAGS: [(&str, &str); 9] = [
    ("`check.kubernetes.mode: off`", "`--no-kubernetes`"),
    ("`check.kubernetes.namespace`", "`--namespace`"),
    ("`engine.public_url`", "`--public-url`"),
    ("`check.engine_config`", "`--engine-config`"),
    ("`check.postgres.url_file`", "`--postgres-url-file`"),
    ("`check.nats.servers`", "`--nats`"),
    ("`check.actor_host_urls`", "`--actor-host`"),
    ("`receive.engine_api.admin_token_file`", "`--admin-token-file`"),
    ("`receive.engine_api`", "`--engine-url`"),
];

/// The report with a flag beside each key of the configuration that a reason names: who runs the command has both.
pub(super) fn with_flags(mut report: Report) -> Report {
    let add = |text: &mut String| {
        for (key, flag) in FLAGS {
            if text.contains(key) && !text.contains(flag) {
                *text = text.replacen(key, &format!("{key} ({flag} here)"), 1);
            }
        }
    };
    report.findings.iter_mut().for_each(|finding| add(&mut finding.reason));
    report.sources.iter_mut().filter(|source| !source.is_known).for_each(|source| add(&mut source.detail));
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::evidence::{Evidence, Told};
    use crate::checklist::{Choice, judge};
    use crate::cli::check::Args;
    use crate::model::TimestampMs;

    #[test]
    fn a_typo_is_answered_with_the_nearest_name() {
        let error = check_names(&["image-pined".into()], true).unwrap_err().to_string();
        assert!(error.contains("is it `image-pinned`?"), "{error}");
        assert!(check_names(&["securty".into()], true).unwrap_err().to_string().contains("`security`"));
        assert!(check_names(&["security".into()], false).is_err(), "a category is no item to skip");
        assert!(!check_names(&["zzzzzzzzzz".into()], true).unwrap_err().to_string().contains("is it"));
    }

    #[test]
    fn reasons_name_the_flag_beside_the_key() {
        let evidence = Evidence::nothing(TimestampMs(0), Told::default());
        let report = with_flags(judge(&evidence, &Choice::default()));
        let reason = |item: &str| report.findings.iter().find(|f| f.item == item).unwrap().reason.clone();
        assert!(reason("tls-chain").contains("`engine.public_url` (`--public-url` here)"), "{}", reason("tls-chain"));
        assert!(reason("postgres-backend").contains("(`--engine-config` here)"), "{}", reason("postgres-backend"));
        // Every key is one, and every flag too.
        let flags = <Args as clap::Args>::augment_args(clap::Command::new("check"));
        for (key, flag) in FLAGS {
            let name = flag.trim_matches('`').trim_start_matches("--");
            assert!(flags.get_arguments().any(|a| a.get_long() == Some(name)), "{key}: {flag}");
        }
    }
}
