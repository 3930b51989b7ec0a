//! Origins whose pages may call the API from a browser.

use url::Url;

const FLAG: &str = "--cors-allowed-origin";

/// The origins, each as browsers write it: they are compared byte by byte.
pub(super) fn check(texts: &[String], mistakes: &mut Vec<String>) -> Vec<String> {
    let mut origins = Vec::new();
    // An empty variable names none.
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        match mistake(text) {
            Some(mistake) => mistakes.push(format!("{FLAG} {text}: {mistake}")),
            None => origins.push(text.to_owned()),
        }
    }
    origins
}

fn mistake(text: &str) -> Option<String> {
    if text.contains('*') {
        let problem = "a page that somebody opens by mistake could call the API with a token that it got hold of";
        return Some(format!("{problem}; name the origins"));
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    let Some(url) = url else {
        return Some("must be an origin such as https://app.example or http://localhost:3000".to_owned());
    };
    // What is more than an origin might be meant to allow less than all of it, which browsers cannot do.
    let is_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    let origin = url.origin().ascii_serialization();
    if is_more {
        return Some(format!("an origin is no more than {origin}"));
    }
    (origin != text).then(|| format!("browsers write it {origin}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Vec<String>, String> {
        let mut mistakes = Vec::new();
        let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
        let origins = check(&texts, &mut mistakes);
        if mistakes.is_empty() { Ok(origins) } else { Err(mistakes.join("\n")) }
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        let many = "https://app.example,http://localhost:3000, https://[::1]:8443,https://xn--bcher-kva.example";
        let origins = checked(many).unwrap();
        let expected =
            ["https://app.example", "http://localhost:3000", "https://[::1]:8443", "https://xn--bcher-kva.example"];
        assert_eq!(origins, expected);
        assert_eq!(checked("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_no_browser_would_send_is_refused_with_what_it_would() {
        for (text, mistake) in [
            ("*", "name the origins"),
            ("null", "must be an origin"),
            ("app.example", "must be an origin"),
            ("file:///index.html", "must be an origin"),
            ("https://*.example", "name the origins"),
            ("https://App.Example", "browsers write it https://app.example"),
            ("https://app.example/", "browsers write it https://app.example"),
            ("https://app.example:443", "browsers write it https://app.example"),
            ("https://app.example/page", "an origin is no more than https://app.example"),
            ("https://me@app.example", "an origin is no more than https://app.example"),
            ("https://app.example?", "an origin is no more than https://app.example"),
        ] {
            let mistakes = checked(text).expect_err(text);
            assert!(mistakes.starts_with("--cors-allowed-origin ") && mistakes.contains(mistake), "{text}: {mistakes}");
        }
        let mistakes = checked("*,https://app.example,null").unwrap_err();
        assert_eq!(mistakes.lines().count(), 2, "{mistakes}");
    }
}
