//! What a plugin says of itself is still there in the component that the tools made of it.

use jobcell_handlers::Manifest;
use jobcell_tests::artifacts::guest;

#[test]
fn a_component_bears_the_manifest_that_its_plugin_wrote() {
    for (component, package) in
        [("settings", "jobcell-guest-settings"), ("payment", "jobcell-plugin-payment")]
    {
        let bytes = std::fs::read(guest(component)).expect("the component");
        let manifest = Manifest::read(&bytes).expect("a sound manifest").expect("a manifest");
        assert_eq!(manifest.name, package);
        assert_eq!(manifest.version.as_deref(), Some(env!("CARGO_PKG_VERSION")), "of one workspace");
        assert_eq!(manifest.wit.as_deref(), Some("0.1.0"));
        assert_eq!(manifest.language.as_deref(), Some("rust"));
        assert_eq!(manifest.wants, None, "what it does not say is what it imports");
    }
}
