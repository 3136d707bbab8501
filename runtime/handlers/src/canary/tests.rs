use jobcell_core::fleet::VersionCounts;

use super::*;

fn canary(percent: u8, seed: u64) -> Canary {
    Canary {
        digest: Digest::of(b"new"),
        percent,
        since: 1_000,
        by: "me".to_owned(),
        rules: CanaryRules { promote_after_ms: Some(60_000), ..CanaryRules::default() },
        seed,
    }
}

/// So many attempts of each end, each of so many milliseconds.
fn counts(done: u64, failed: u64, trapped: u64, ms: u64) -> VersionCounts {
    let mut counts = VersionCounts { done, failed, trapped, ..VersionCounts::default() };
    for _ in 0..done + failed + trapped {
        counts.took(ms);
    }
    counts
}

fn judged(of_canary: &VersionCounts, of_active: &VersionCounts, after_ms: u64) -> Verdict {
    judge(&canary(10, 1), of_canary, of_active, 1_000 + after_ms)
}

#[track_caller]
fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::RollBack { why } => why,
        other => panic!("{other:?}"),
    }
}

// --- which jobs

#[test]
fn the_share_is_exact_enough_and_stable() {
    for percent in [1, 5, 10, 50, 99] {
        let canary = canary(percent, 7);
        let taken = (0..20_000).filter(|id| picks(&canary, "media", &id.to_string())).count();
        let expected = 200 * usize::from(percent);
        assert!(taken.abs_diff(expected) < 300, "{percent} %: {taken} of 20000");
    }
    assert!((0..1_000).all(|id| picks(&canary(100, 7), "media", &id.to_string())));
}

#[test]
fn a_job_stays_with_the_canary_when_its_share_grows() {
    let stays = |id: &String| !picks(&canary(5, 7), "q", id) || picks(&canary(20, 7), "q", id);
    assert!((0..5_000).map(|id| id.to_string()).all(|id| stays(&id)));
}

#[test]
fn another_canary_and_another_queue_take_other_jobs() {
    let both = |a: &Canary, b: &Canary, other_queue: &str| {
        (0..10_000)
            .map(|id| id.to_string())
            .filter(|id| picks(a, "q", id) && picks(b, other_queue, id))
            .count()
    };
    // 10 % of 10 % would be a hundred.
    assert!((50..170).contains(&both(&canary(10, 1), &canary(10, 2), "q")));
    assert!((50..170).contains(&both(&canary(10, 1), &canary(10, 1), "r")));
}

#[test]
fn every_release_picks_the_same_jobs() {
    // Hosts of two releases run side by side while one follows the other.
    let taken: Vec<u32> = (0..100).filter(|id| picks(&canary(10, 42), "media", &id.to_string())).collect();
    assert_eq!(taken, PICKED);
}

/// Of the first hundred ids, for this canary.
const PICKED: [u32; 9] = [7, 22, 25, 26, 41, 68, 78, 92, 94];

// --- what is judged

#[test]
fn nothing_is_decided_on_few_jobs() {
    for bad in 0..20 {
        assert_eq!(judged(&counts(0, 0, bad, 5), &counts(10_000, 0, 0, 5), 600_000), Verdict::Keep, "{bad}");
    }
    let empty = VersionCounts::default();
    assert_eq!(judged(&empty, &empty, u64::MAX - 2_000), Verdict::Keep, "and nothing is divided by it");
}

#[test]
fn a_version_that_traps_on_every_job_ends_as_soon_as_anything_is_decided() {
    let told = why(judged(&counts(0, 0, 20, 5), &counts(180, 0, 0, 5), 0));
    assert!(told.contains("20 of its 20 jobs fail (100.0 %)") && told.contains("180 (0.0 %)"), "{told}");
    let alone = why(judged(&counts(0, 0, 20, 5), &VersionCounts::default(), 0));
    assert!(alone.contains("none to compare with"), "{alone}");
}

#[test]
fn a_handful_of_unlucky_jobs_is_no_verdict() {
    // One in twenty looks like 5 % against 1 %, and is what chance makes of 1 % in every sixth canary.
    assert_eq!(judged(&counts(19, 1, 0, 5), &counts(1_980, 20, 0, 5), 0), Verdict::Keep);
    // It is not promoted either, while it looks so.
    assert_eq!(judged(&counts(19, 1, 0, 5), &counts(1_980, 20, 0, 5), 600_000), Verdict::Keep);
    assert!(matches!(
        judged(&counts(1_900, 100, 0, 5), &counts(19_800, 200, 0, 5), 0),
        Verdict::RollBack { .. }
    ));
}

#[test]
fn what_both_versions_fail_alike_is_the_jobs_own() {
    assert_eq!(judged(&counts(50, 50, 0, 5), &counts(500, 500, 0, 5), 0), Verdict::Keep);
    assert!(matches!(
        judged(&counts(50, 50, 0, 5), &counts(500, 500, 0, 5), 60_000),
        Verdict::Promote { .. }
    ));
}

#[test]
fn traps_in_place_of_failures_are_worse() {
    let told = why(judged(&counts(500, 0, 500, 5), &counts(5_000, 5_000, 0, 5), 0));
    assert!(told.contains("trap"), "{told}");
}

#[test]
fn a_slower_version_ends_and_a_little_jitter_does_not() {
    let active = counts(1_000, 0, 0, 40);
    let told = why(judged(&counts(200, 0, 0, 83), &active, 0));
    assert!(told.contains("took longer than 82 ms") && told.contains("at most 47 ms"), "{told}");
    for ms in [20, 40, 50, 60] {
        assert_eq!(judged(&counts(200, 0, 0, ms), &active, 0), Verdict::Keep, "{ms}");
    }
    // From one bucket of a millisecond into the next few is what machines do by themselves.
    assert_eq!(judged(&counts(200, 0, 0, 9), &counts(1_000, 0, 0, 1), 0), Verdict::Keep);
    // A few slow ones are within the tail that everybody has.
    let mut mixed = counts(196, 0, 0, 40);
    mixed.add(&counts(4, 0, 0, 9_000));
    assert_eq!(judged(&mixed, &active, 0), Verdict::Keep);
}

#[test]
fn the_factor_means_what_it_says_from_some_milliseconds_to_half_an_hour() {
    for usual in [30, 110, 400, 3_000, 10_100, 59_000, 600_000, 1_500_000] {
        let active = counts(1_000, 0, 0, usual);
        for (factor, tenths) in [(1.5, 15), (2.0, 20), (5.0, 50)] {
            let rules = CanaryRules { max_latency: factor, ..CanaryRules::default() };
            let canary = Canary { rules, ..canary(10, 1) };
            let tolerated = usual * tenths / 10;
            let judged = |ms| judge(&canary, &counts(200, 0, 0, ms), &active, 1_000);
            assert_eq!(judged(tolerated * 9 / 10), Verdict::Keep, "{usual} ms, {factor}");
            // A step of the histogram for what is usual, and one for what is tolerated.
            if tolerated < 2_600_000 {
                assert!(
                    matches!(judged(tolerated * 3 / 2), Verdict::RollBack { .. }),
                    "{usual} ms, {factor}"
                );
            }
        }
    }
}

#[test]
fn what_looks_slower_is_not_promoted() {
    // Too few to be sure.
    let mut mixed = counts(27, 0, 0, 40);
    mixed.add(&counts(3, 0, 0, 900));
    let active = counts(1_000, 0, 0, 40);
    assert_eq!(judged(&mixed, &active, 60_000), Verdict::Keep);
    mixed.add(&counts(70, 0, 0, 40));
    assert!(matches!(judged(&mixed, &active, 60_000), Verdict::Promote { .. }));
}

#[test]
fn nothing_is_said_of_latencies_beyond_the_last_bucket() {
    assert_eq!(judged(&counts(100, 0, 0, 4_500_000), &counts(100, 0, 0, 4_000_000), 0), Verdict::Keep);
    assert_eq!(judged(&counts(100, 0, 0, 4_500_000), &counts(100, 0, 0, 3_000_000), 0), Verdict::Keep);
}

#[test]
fn a_good_version_is_promoted_when_its_time_is_over_and_not_before() {
    let (good, active) = (counts(100, 1, 0, 40), counts(1_000, 10, 0, 40));
    assert_eq!(judged(&good, &active, 59_999), Verdict::Keep);
    assert!(matches!(judged(&good, &active, 60_000), Verdict::Promote { .. }));
    let by_hand = Canary { rules: CanaryRules::default(), ..canary(10, 1) };
    assert_eq!(judge(&by_hand, &good, &active, u64::MAX), Verdict::Keep, "people promote it");
}

#[test]
fn a_canary_as_good_as_the_active_version_is_hardly_ever_rolled_back() {
    // Both fail 3 jobs in a hundred; looked at after 20, 100 and 500 jobs.
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut fails = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % 100 < 3
    };
    let mut rolled_back = 0;
    for _ in 0..1_000 {
        let mut failed = [0, 0];
        let mut ran = 0;
        for look in [20, 100, 500] {
            while ran < look {
                ran += 1;
                failed[0] += u64::from(fails());
                failed[1] += (0..9).filter(|_| fails()).count() as u64;
            }
            let of_canary = counts(look - failed[0], failed[0], 0, 5);
            let of_active = counts(look * 9 - failed[1], failed[1], 0, 5);
            if judged(&of_canary, &of_active, 0) != Verdict::Keep {
                rolled_back += 1;
                break;
            }
        }
    }
    assert!(rolled_back < 10, "{rolled_back} of 1000");
}

#[test]
fn no_counts_whatever_break_the_judge() {
    let extremes = [0, 1, 19, 20, 1 << 20, u64::MAX];
    for done in extremes {
        for failed in extremes {
            for trapped in extremes {
                for buckets in [vec![], vec![u64::MAX; 40], vec![0; 3], vec![1; 16]] {
                    let odd = VersionCounts { done, failed, trapped, wall_ms_total: u64::MAX, buckets };
                    let usual = counts(100, 1, 0, 5);
                    for (of_canary, of_active) in [(&odd, &usual), (&usual, &odd), (&odd, &odd)] {
                        if let Verdict::RollBack { why } = judged(of_canary, of_active, 0) {
                            assert!(!why.contains("NaN") && !why.contains("inf"), "{why}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rules_that_decide_nothing_are_told_by_name() {
    let good = CanaryRules::default();
    assert_eq!(good.check(), Ok(()));
    let bad = [
        ("window", CanaryRules { window_ms: 0, ..good }),
        ("window", CanaryRules { window_ms: u64::MAX, ..good }),
        ("min-jobs", CanaryRules { min_jobs: 0, ..good }),
        ("max-failures-over", CanaryRules { max_failures_over: -0.1, ..good }),
        ("max-failures-over", CanaryRules { max_failures_over: f64::NAN, ..good }),
        ("max-latency", CanaryRules { max_latency: 0.5, ..good }),
        ("max-latency", CanaryRules { max_latency: f64::INFINITY, ..good }),
        ("promote-after", CanaryRules { promote_after_ms: Some(0), ..good }),
    ];
    for (rule, rules) in bad {
        assert_eq!(rules.check().unwrap_err().rule, rule);
    }
}

// --- the window

#[test]
fn only_what_happened_within_the_window_counts_on_all_hosts_together() {
    let digest = Digest::of(b"new");
    let mut window = Window::new(60_000);
    let said = |done| VersionCounts { done, ..VersionCounts::default() };
    window.observe(0, "a", digest, &said(1_000));
    assert_eq!(window.over(&digest).done, 0, "what was before it looked is not known");
    for second in 1..=120 {
        window.observe(second * 1_000, "a", digest, &said(1_000 + second * 10));
        window.observe(second * 1_000, "b", digest, &said(second));
    }
    let over = window.over(&digest).done;
    assert!((590..=680).contains(&over), "{over}");
    assert_eq!(window.over(&Digest::of(b"other")).done, 0);
}

#[test]
fn a_host_that_is_gone_for_a_window_is_forgotten_and_a_new_one_joins() {
    let digest = Digest::of(b"new");
    let mut window = Window::new(60_000);
    let said = |done| VersionCounts { done, ..VersionCounts::default() };
    window.observe(0, "gone", digest, &said(0));
    window.observe(10_000, "gone", digest, &said(50));
    window.observe(20_000, "new", digest, &said(0));
    window.observe(30_000, "new", digest, &said(7));
    assert_eq!(window.over(&digest).done, 57, "what a host did stays when it dies");
    window.observe(75_000, "new", digest, &said(9));
    let over = window.over(&digest).done;
    assert!((2..=9).contains(&over), "{over}");
}

#[test]
fn clocks_that_go_back_and_counts_that_shrink_do_no_harm() {
    let digest = Digest::of(b"new");
    let mut window = Window::new(60_000);
    let said = |done| VersionCounts { done, ..VersionCounts::default() };
    for (now, done) in [(50_000, 10), (40_000, 20), (0, 30), (51_000, 5), (u64::MAX, 6)] {
        window.observe(now, "a", digest, &said(done));
        assert!(window.over(&digest).done <= 30);
    }
}

#[test]
fn what_a_window_keeps_is_bounded() {
    let digest = Digest::of(b"new");
    let mut window = Window::new(60_000);
    for ms in 0..200_000 {
        window.observe(ms, "a", digest, &VersionCounts::default());
    }
    for host in 0..10_000 {
        window.observe(200_000, &host.to_string(), digest, &VersionCounts::default());
    }
    let (hosts, points) = window.kept();
    assert!(hosts <= 1_024 && points < 1_024 + 80, "{hosts} {points}");
}
