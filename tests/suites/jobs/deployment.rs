//! The config inside of `docker-compose.yml` is one that the host takes.

use jobcell_tests::Site;

const COMPOSE: &str = include_str!("../../../docker-compose.yml");
/// How far the block below `content: |` is moved in.
const INDENT: &str = "      ";

#[test]
fn the_config_of_the_compose_file_passes_the_check() {
    let (_, rest) = COMPOSE.split_once("content: |\n").expect("a config in the compose file");
    let block = rest.lines().take_while(|line| line.is_empty() || line.starts_with(INDENT));
    let config: String =
        block.map(|line| line.strip_prefix(INDENT).unwrap_or_default().to_owned() + "\n").collect();
    // Inside the image the handlers and the uploads are elsewhere.
    let mut config = config.replace("/var/lib/jobcell/uploads", "${site}/uploads");
    for name in ["media", "payment", "notification"] {
        config = config.replace(&format!("/usr/share/jobcell/handlers/{name}.wasm"), &format!("${{{name}}}"));
    }
    let site =
        Site::embedded(&config).env("STRIPE_WEBHOOK_SECRET", "x").env("NOTIFICATION_WEBHOOK_SECRET", "y");
    // The image brings the folder.
    std::fs::create_dir(site.path().join("uploads")).unwrap();
    let _ = site.cli(&["check"]).ok().answers(&["handler media", "handler payment", "handler notification"]);
}
