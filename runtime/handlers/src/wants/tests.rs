use super::*;

fn wants(json: &str) -> Wants {
    serde_json::from_str(json).unwrap()
}

#[test]
fn wants_are_told_in_lines_that_people_know_from_the_configuration() {
    let wants = wants(
        r#"{"http":[{"url":"https://API.example.com:443/v1/*","methods":["post","GET"]},"http://*.example.org","*"],
            "blobs":["uploads"],"cache":true,"kv":["media"],"enqueue":["overlay"],"publish":["jobs:*"],
            "secrets":["stripe",{"name":"other","reveal":true}]}"#,
    );
    let expected = [
        "blobs uploads",
        "cache",
        "enqueue overlay",
        "http *",
        "http http://*.example.org",
        "http https://api.example.com/v1/* (GET, POST)",
        "kv media",
        "publish jobs:*",
        "secret other, revealed",
        "secret stripe",
    ];
    assert_eq!(wants.lines(), expected);
    let json = serde_json::to_string(&wants).unwrap();
    assert_eq!(serde_json::from_str::<Wants>(&json).unwrap(), wants);
    assert_eq!(serde_json::to_string(&Wants::default()).unwrap(), "{}");
}

#[test]
fn what_nobody_knows_is_refused() {
    for json in [
        r#"{"gpu":true}"#,
        r#"{"http":["ftp://example.com"]}"#,
        r#"{"http":["https://a.*.com"]}"#,
        r#"{"http":["https://user@example.com"]}"#,
        r#"{"http":["https://example.com:0"]}"#,
        r#"{"http":["https://example.com/a/../b"]}"#,
        r#"{"http":["https://example.com/?q"]}"#,
        r#"{"http":["https://"]}"#,
        r#"{"http":["https://example.com/."]}"#,
        r#"{"http":["https://example.com/%2e*"]}"#,
        r#"{"http":["https://example.com/ "]}"#,
        r#"{"http":[{"url":"*","methods":["GET POST"]}]}"#,
        r#"{"http":[{"url":"*","secrets":["x"]}]}"#,
        r#"{"secrets":[{"name":"x","show":true}]}"#,
    ] {
        assert!(serde_json::from_str::<Wants>(json).is_err(), "{json}");
    }
}

#[test]
fn a_difference_has_two_sides() {
    let active = wants(r#"{"http":["https://*.example.com"],"kv":["a","b"],"secrets":["s"]}"#);
    let new = wants(
        r#"{"http":["https://x.example.com/v1/*","https://example.org"],"kv":["a"],"cache":true,
            "secrets":[{"name":"s","reveal":true}]}"#,
    );
    let Diff { wider, narrower } = Diff::between(Some(&active), &new);
    assert_eq!(wider, ["cache", "http https://example.org", "secret s, revealed"]);
    assert_eq!(narrower, ["http https://*.example.com", "kv b"]);
    assert_eq!(Diff::between(Some(&new), &new), Diff::default());
    assert_eq!(Diff::between(None, &new).wider, new.lines());
}

#[test]
fn only_the_methods_that_are_new_are_wider() {
    let active = wants(
        r#"{"http":[{"url":"https://a.example/*","methods":["GET"]},{"url":"https://a.example/v1/*","methods":["PUT"]}]}"#,
    );
    let beyond = |json: &str| wants(json).beyond(&active);
    let both = r#"{"http":[{"url":"https://a.example/v1/x","methods":["GET","PUT","DELETE"]}]}"#;
    assert_eq!(beyond(both), ["http https://a.example/v1/x (DELETE)"]);
    assert_eq!(beyond(r#"{"http":[{"url":"https://a.example/v1/x","methods":["GET","PUT"]}]}"#), [""; 0]);
    let any = beyond(r#"{"http":["https://a.example/v1/x"]}"#);
    assert_eq!(any, ["http https://a.example/v1/x"], "any method is more than two");
}

#[test]
fn grants_are_narrowed_to_what_is_wanted_and_never_widened() {
    let granted = wants(
        r#"{"http":[{"url":"https://*.example.com","methods":["GET","PUT"]},"https://other.example"],
            "blobs":["uploads","archive"],"cache":true,"kv":["media"],"enqueue":["tenant:*"],
            "publish":["jobs"],"secrets":[{"name":"a","reveal":true},"b"]}"#,
    );
    let wanted = wants(
        r#"{"http":[{"url":"https://x.example.com/v1/*","methods":["GET","POST"]}],"blobs":["uploads","secret"],
            "kv":["*"],"enqueue":["tenant:1","all"],"secrets":["a",{"name":"b","reveal":true}]}"#,
    );
    let within = wanted.within(&granted);
    let expected = [
        "blobs uploads",
        "enqueue tenant:1",
        "http https://x.example.com/v1/* (GET)",
        "kv media",
        "secret a",
        "secret b",
    ];
    assert_eq!(within.lines(), expected);
    let url = |url: &str, methods: &[&str]| {
        let methods: Vec<String> = methods.iter().map(|&method| method.to_owned()).collect();
        wanted.narrow_http(url, Some(&methods)).unwrap()
    };
    let narrowed = vec![("https://x.example.com/v1/*".to_owned(), Some(vec!["GET".to_owned()]))];
    assert_eq!(url("https://*.example.com", &["GET", "PUT"]), narrowed);
    assert_eq!(url("https://*.example.com", &["PUT"]), [], "no method in common is nothing, and not any");
    assert_eq!(url("https://y.example.com", &["GET"]), []);
}

#[test]
fn what_is_imported_without_a_word_leaves_the_grants_as_they_are() {
    let all = Wants::of(&[
        Capability::Http,
        Capability::Blobs,
        Capability::Cache,
        Capability::Kv,
        Capability::Enqueue,
        Capability::Publish,
        Capability::Secrets,
    ]);
    let granted = wants(
        r#"{"http":[{"url":"https://*.example.com","methods":["GET"]},"http://127.0.0.1:9000"],"blobs":["uploads"],
            "cache":true,"kv":["media"],"enqueue":["tenant:*"],"publish":["jobs"],
            "secrets":[{"name":"a","reveal":true},"b"]}"#,
    );
    assert_eq!(all.within(&granted), granted);
    assert_eq!(Wants::default().within(&granted), Wants::default());
    let odd = all.narrow_http("https://whatever form the host takes", None).unwrap();
    assert_eq!(odd, [("https://whatever form the host takes".to_owned(), None)]);
}

#[test]
fn names_cover_what_begins_so_and_nothing_else() {
    for (wide, narrow, expected) in [
        ("*", "*", true),
        ("*", "a*", true),
        ("a*", "*", false),
        ("a*", "ab", true),
        ("a*", "ab*", true),
        ("ab*", "a*", false),
        ("a", "a", true),
        ("a", "a*", false),
        ("a", "ab", false),
    ] {
        assert_eq!(names::covers(wide, narrow), expected, "{wide} {narrow}");
    }
    assert_eq!(names::meet("tenant:*", "tenant:1*"), Some("tenant:1*"));
    assert_eq!(names::meet("a*", "b*"), None);
    let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(narrow_names(&texts(&["a*", "b"]), &texts(&["ab", "b*", "ab"])), ["ab", "b"]);
}

#[test]
fn urls_cover_by_scheme_host_port_and_path() {
    let want = |url: &str| HttpWant::new(url, &[]).unwrap();
    for (wide, narrow, expected) in [
        ("*", "http://10.0.0.1:8080/x", true),
        ("https://*", "https://example.com", true),
        ("https://*", "http://example.com", false),
        ("https://*", "https://example.com:8443", false),
        ("https://*.example.com", "https://a.b.example.com", true),
        ("https://*.example.com", "https://example.com", false),
        ("https://*.example.com", "https://badexample.com", false),
        ("https://*.example.com", "https://*.a.example.com", true),
        ("https://example.com/v1/*", "https://example.com/v1/x", true),
        ("https://example.com/v1/*", "https://example.com/v2/x", false),
        ("https://example.com/v1", "https://example.com/v1/x", false),
        ("https://example.com", "https://EXAMPLE.com/any", true),
        ("https://example.com/v1/*", "https://example.com", false),
        ("https://[::1]", "https://[0:0:0:0:0:0:0:1]:443", true),
        ("https://bücher.example", "https://xn--bcher-kva.example", true),
    ] {
        let covered = want(narrow).beyond(&[want(wide)]).is_none();
        assert_eq!(covered, expected, "{wide} {narrow}");
    }
}

/// Every want that can be made of these parts: small, so that pairs and triples can all be tried.
fn corpus() -> Vec<HttpWant> {
    let hosts = ["*", "*.b.c", "*.a.b.c", "a.b.c", "x.b.c", "b.c"];
    let (paths, methods) = (["", "/v/*", "/v/x", "/w"], [&[][..], &["GET"], &["GET", "PUT"]]);
    let mut all = vec![HttpWant::anywhere()];
    for host in hosts {
        for path in paths {
            for methods in methods {
                let methods: Vec<String> = methods.iter().map(|&method| method.to_owned()).collect();
                all.push(HttpWant::new(&format!("https://{host}{path}"), &methods).unwrap());
            }
        }
    }
    all
}

#[test]
fn what_two_have_in_common_is_covered_by_both_and_is_all_of_it() {
    let corpus = corpus();
    for one in &corpus {
        for other in &corpus {
            let met = one.narrowed(std::slice::from_ref(other));
            let back = other.narrowed(std::slice::from_ref(one));
            assert_eq!(met, back, "{one} {other}");
            for met in &met {
                assert_eq!(met.beyond(std::slice::from_ref(one)), None, "{one} {other}");
                assert_eq!(met.beyond(std::slice::from_ref(other)), None, "{one} {other}");
            }
            // Whatever both cover is covered by what they have in common.
            for third in &corpus {
                let of_both = third.beyond(std::slice::from_ref(one)).is_none()
                    && third.beyond(std::slice::from_ref(other)).is_none();
                assert!(!of_both || third.beyond(&met).is_none(), "{one} {other} {third}");
            }
        }
    }
}
