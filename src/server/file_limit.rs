//! How many files, and so connections, the system lets this process open.
//!
//! Read by `Server::run`, to warn of a `--max-connections` that can never be reached.

/// Files open besides connections: listeners, the runtime's own, the log, models.
const RESERVE: u64 = 64;

/// The most connections that the limit of open files leaves room for, if that is less than `wanted`.
pub(super) fn connections_allowed(wanted: u32) -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let files = soft_limit(&limits)?;
    (files < u64::from(wanted) + RESERVE).then(|| files.saturating_sub(RESERVE))
}

/// The soft limit of open files in the text of `/proc/PID/limits`; `None` if there is none.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_is_the_first_number_of_its_line() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             31234                31234                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(
            soft_limit("Max open files  unlimited  unlimited  files\n"),
            None
        );
        assert_eq!(soft_limit(""), None);
    }
}
