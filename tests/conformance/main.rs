//! One suite for the sandbox and for a real cluster: what the harness relies on in Kubernetes, and the experiments with their verdicts.
//!
//! The sandbox' arm runs always. The real one runs where `CHAOS_TEST_KIND=NAME` names a kind cluster or `CHAOS_TEST_KUBECONFIG=FILE` a kubeconfig whose current
//! context is meant; else its tests say that they were skipped. `CHAOS_TEST_IMAGE` names an image of the stand-in engine that the nodes have; without it the
//! image is built and loaded into kind, which takes minutes. `CHAOS_TEST_NODE_IMAGE` names an image with a `chroot` for the nodes of a kubeconfig's cluster.
//! `CHAOS_TEST_ALL=1` runs every experiment, on both, which takes most of an hour each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod arena;
mod balancer;
mod experiments;
mod lag;
mod pods;
mod real_only;

/// The same tests on both.
macro_rules! on_both {
    ($($module:ident: $($test:ident),+;)+) => {
        mod sandbox {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$module::$test(crate::arena::Arena::sandbox().await).await;
                }
            )+)+
        }

        mod real {
            $($(
                #[tokio::test]
                async fn $test() {
                    let _alone = crate::arena::alone().await;
                    if let Some(arena) = crate::arena::Arena::real(stringify!($test)).await {
                        crate::$module::$test(arena).await;
                    }
                }
            )+)+
        }
    };
}

on_both! {
    api: a_watch_tells_changes_in_order_and_goes_on_where_it_ended,
        a_deletion_hits_the_object_with_that_uid_and_no_other,
        a_graceful_deletion_leaves_the_object_until_the_process_has_ended,
        a_forced_deletion_leaves_nothing,
        an_eviction_is_refused_by_a_budget_and_granted_without_it,
        a_dry_run_judges_as_a_real_one_and_keeps_nothing;
    pods: an_endpoint_is_not_ready_before_its_process_ends,
        a_container_that_ends_is_restarted_at_once_and_then_later_and_later,
        a_claim_comes_back_with_its_volume_on_its_node,
        a_claim_for_one_pod_holds_the_second_back,
        a_replacement_comes_while_the_old_pod_of_a_deployment_terminates,
        a_node_without_its_kubelet_is_not_ready_within_a_minute_and_ready_again_soon;
    balancer: a_run_passes_through_a_load_balancer,
        a_load_balancer_that_never_comes_is_told_and_leaves_nothing;
    experiments: every_experiment_ends_with_its_verdict;
}

/// What the sandbox cannot be asked for.
#[tokio::test]
async fn real_a_load_balancer_with_a_name_is_reached_by_it() {
    let _alone = arena::alone().await;
    if let Some(arena) = arena::Arena::real("a_load_balancer_with_a_name").await {
        balancer::a_load_balancer_with_a_name_is_reached_by_it(arena).await;
    }
}
