//! What somebody tries who should not.

use super::*;

/// Every route of the document with its methods.
fn routes() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("{queue}", "work")
                .replace("{id}", "a")
                .replace("{handler}", "media")
                .replace("{version}", "aa");
            routes.push((method.to_uppercase().parse().unwrap(), path));
        }
    }
    routes
}

#[tokio::test]
async fn without_a_token_or_with_a_wrong_one_every_route_is_closed() {
    let place = Place::open(tokens());
    let routes = routes();
    assert!(routes.len() > 30, "{}", routes.len());
    // What probes, scrapers and autoscalers ask is open.
    for (method, path) in routes.iter().filter(|(_, path)| path.starts_with("/api/") || path == "/ws") {
        for token in ["", "guess", "Viewer", "viewer,admin"] {
            let answer = place.ask(method.clone(), path, token, Some(json!({}))).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} with {token:?}");
        }
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_on_any_route() {
    let place = Place::open(tokens());
    for (method, path) in routes().iter().filter(|(method, _)| !method.is_safe()) {
        let answer = place.ask(method.clone(), path, "viewer", Some(json!({"name": "n"}))).await;
        // What cannot be read is refused before who sent it is looked at, and changes nothing either.
        let refused = [
            StatusCode::FORBIDDEN,
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ];
        assert!(refused.contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.json);
    }
    assert!(place.store.queues().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tenant_can_do_nothing_to_anothers_job_and_does_not_hear_of_it() {
    let place = Place::open(tokens());
    let theirs =
        json!({"name": "secret-name", "data": {"s": "hush"}, "opts": {"jobId": "a", "tenant": "other"}});
    place.ask(Method::POST, "/api/v1/queues/work/jobs", "admin", Some(theirs)).await;
    for (method, path) in routes().iter().filter(|(_, path)| path.contains("/jobs/a")) {
        let answer = place.ask(method.clone(), path, "acme", None).await;
        let hidden = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
        assert!(hidden.contains(&answer.status), "{method} {path}: {}", answer.status);
        let text = answer.json.to_string();
        assert!(!text.contains("hush") && !text.contains("secret-name"), "{method} {path}: {text}");
    }
    assert!(place.store.get(&queue(), &JobId::new("a").unwrap()).await.unwrap().is_some());
}

#[tokio::test]
async fn names_that_walk_out_of_their_place_are_names_or_refused() {
    let place = Place::open(Vec::new());
    for name in ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "a%00b", "a%0d%0ab", "%ff%fe", "a%3Ab", ".%2f.%2f"] {
        for path in [
            format!("/api/v1/queues/{name}"),
            format!("/api/v1/queues/{name}/jobs"),
            format!("/api/v1/queues/work/jobs/{name}"),
            format!("/api/v1/queues/work/schedulers/{name}"),
            format!("/api/v1/handlers/{name}"),
        ] {
            let answer = place.ask(Method::GET, &path, "", None).await;
            let is_refused = [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST].contains(&answer.status);
            assert!(is_refused, "{path}: {} {}", answer.status, answer.json);
        }
    }
}

#[tokio::test]
async fn a_version_is_handed_in_under_a_name_and_never_a_path() {
    let place = Place::open(Vec::new());
    for name in [
        "..%2F..%2Fetc%2Fpasswd",
        "..",
        "%2e%2e%2fhandlers",
        "a%00",
        "%2Fetc%2Fcron.d%2Fx",
        "a%0d%0ab",
        "a%5c..%5cb",
    ] {
        for what in ["versions", "activate", "rollback", "quarantine"] {
            let path = format!("/api/v1/handlers/{name}/{what}");
            let answer = place.ask(Method::POST, &path, "", Some(json!({"version": "../../x"}))).await;
            assert!(answer.status.is_client_error(), "{path}: {} {}", answer.status, answer.json);
        }
    }
    let version =
        place.post("handlers/media/activate", Some(json!({"version": "../../../etc/passwd"}))).await;
    assert!(version.status.is_client_error(), "{}", version.json);
}

#[tokio::test]
async fn no_header_and_no_token_comes_back_in_an_answer() {
    let place = Place::open(tokens());
    let request = Request::get("/api/v1/queues")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, "Bearer s3cret-guess")
        .header(header::COOKIE, "session=s3cret-guess")
        .header("x-forwarded-for", "s3cret-guess");
    let answer = place.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!format!("{:?} {}", answer.headers, answer.json).contains("s3cret"), "{}", answer.json);
    // Nor in what the audit keeps of somebody who is known.
    let path = "/api/v1/queues/work/pause?x=%0d%0aset-cookie:a=b";
    let answer = place.ask(Method::POST, path, "operator", None).await;
    assert!(answer.headers.get(header::SET_COOKIE).is_none());
    let audit = place.ask(Method::GET, "/api/v1/audit", "admin", None).await.json.to_string();
    let hash = hex::encode(Sha256::digest("operator"));
    assert!(audit.contains("/pause") && !audit.contains("Bearer") && !audit.contains(&hash), "{audit}");
}

#[tokio::test]
async fn messages_are_for_people_who_write_json() {
    let place = Place::open(Vec::new());
    for (body, part) in [
        (json!({"name": "n", "opts": {"atempts": 3}}), "there is no `atempts`"),
        (json!({"name": "n", "opts": {"removeOnComplete": {"cuont": 3}}}), "there is no `cuont`"),
        (json!({"name": "n", "opts": {"backoff": {"dealy": 3}}}), "there is no `dealy`"),
        (json!({"name": "n", "opts": {"lifo": "yes"}}), "opts.lifo"),
        (json!({"name": "n", "opts": {"delay": -1}}), "opts.delay"),
        (json!({"data": 1}), "`name` is missing"),
        (json!("name"), "an object"),
        (json!([1]), "[0]"),
    ] {
        let answer = place.post("queues/work/jobs", Some(body)).await;
        let told = answer.json["detail"].as_str().unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{told}");
        assert!(told.contains(part), "{told}");
        for word in ["untagged", "struct", "variant", "u64", "expected one of", "deserial", "map"] {
            assert!(!told.contains(word), "{word} in {told}");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_is_told_the_limit() {
    let place = Place::open(Vec::new());
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let chunks = futures::stream::iter((0..9).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let request = Request::post("/api/v1/queues/work/jobs")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json");
    let answer = place.send(request.body(Body::from_stream(chunks)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.json["detail"].as_str().unwrap().contains("8388608"), "{}", answer.json);
}
