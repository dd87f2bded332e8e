//! Which web pages may open a WebSocket

use std::sync::Arc;

/// The web pages, by their `Origin`, that may open a WebSocket besides those of the server's own host
///
/// A browser lets any page that its user visits open a WebSocket to any server, one on `localhost` too, and tells the server whose
/// page it is. Programs that are no browsers send no `Origin`, and are not concerned.
///
/// ```
/// use flyrpc_driver::Origins;
///
/// let origins = Origins::new(["https://app.example"]);
/// assert!(origins.allow(None, Some("localhost:8080")), "no browser");
/// assert!(origins.allow(Some("http://localhost:8080"), Some("localhost:8080")));
/// assert!(origins.allow(Some("https://app.example"), Some("localhost:8080")));
/// assert!(!origins.allow(Some("https://elsewhere.example"), Some("localhost:8080")));
/// assert!(Origins::new(["*"]).allow(Some("https://elsewhere.example"), None));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[String]>);

impl Origins {
    /// These, as `Origin` has them: `https://app.example`; `*` stands for all, `null` for pages without one, such as files
    #[must_use]
    pub fn new<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> Self {
        Self(origins.into_iter().map(Into::into).collect())
    }

    /// May a page of this `Origin` open one at this `Host`?
    #[must_use]
    pub fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let own = authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host));
        own || self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}
