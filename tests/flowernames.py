"""Every private name of Flower that we touch, with the test that fails without it."""

HERE = "tests/common/test_flower_contract.py"
LINK = "tests/common/test_flower_link.py"
SERVING = "tests/common/test_flower_serving.py"
EXECUTOR = "tests/client/test_executor.py"
PUBLIC = ("flwr.app", "flwr.serverapp", "flwr.clientapp", "flwr.simulation")
REACH = f"{LINK}::test_hospitals_reach_the_fleet_and_the_health_check_and_nothing_else"
FORGED = f"{LINK}::test_a_node_can_answer_for_itself_only"
LISTED = f"{LINK}::test_nodes_are_registered_listed_struck_and_made_equal_to_the_roster"
LEFT = f"{LINK}::test_a_new_start_ends_what_a_dead_process_left"
RAISED = f"{LINK}::test_what_the_app_raises_passes_through_and_flower_hears_no_text"
REMOVED = f"{LINK}::test_a_message_to_a_removed_node_is_answered_by_an_error_at_once"
PROXY = f"{LINK}::test_a_proxy_of_the_environment_does_not_stand_between_processes_of_one_machine"
ANSWERED = f"{EXECUTOR}::test_a_message_is_answered_by_a_child_of_a_parent_without_threads"
SILENT = f"{EXECUTOR}::test_no_text_of_an_exception_leaves_and_none_of_a_patient_is_logged"
KILLED = f"{EXECUTOR}::test_a_killed_child_is_answered_for_at_once_and_the_next_message_works"
NAPS = f"{HERE}::test_flowers_worker_sleeps_where_we_think"
LOOKS = f"{HERE}::test_flower_waits_a_second_for_bytes_on_their_way_and_takes_another_number"
STALLS = "tests/common/test_flower_stalls.py"
AGAIN = f"{STALLS}::test_what_a_supernode_tries_again"
HALVES = f"{STALLS}::test_flowers_signal_for_a_run_that_ended_passes_its_own_cleaning_up"
GUARDS = "tests/common/test_flower_guards.py"
PARTS = f"{GUARDS}::test_flower_hands_every_part_of_a_reply_to_the_function_that_we_replace"
LIGHT = f"{GUARDS}::test_a_superlink_writes_nothing_for_a_question"
UNFETCHED = f"{HERE}::test_a_message_that_nobody_fetched_is_answered_too"
REPLIES = "tests/common/test_flower_replies.py"
OPENED = f"{REPLIES}::test_a_whole_reply_is_opened"
LYING = f"{REPLIES}::test_one_lying_hospital_neither_ends_nor_holds_up_a_study"

USED_BY = {
    "flwr.app.message.make_message": OPENED,
    "flwr.common.constant.ErrorCode": KILLED,
    "flwr.common.constant.ISOLATION_MODE_PROCESS": REACH,
    "flwr.common.constant.SUPERLINK_NODE_ID": FORGED,
    "flwr.common.constant.Status": LEFT,
    "flwr.common.constant.SubStatus": RAISED,
    "flwr.common.constant.TRANSPORT_TYPE_GRPC_RERE": REACH,
    "flwr.common.serde.context_from_proto": LEFT,
    "flwr.common.serde.run_from_proto": LEFT,
    "flwr.proto.control_pb2.ListNodesRequest": LISTED,
    "flwr.proto.control_pb2.ListRunsRequest": LEFT,
    "flwr.proto.control_pb2.RegisterNodeRequest": LISTED,
    "flwr.proto.control_pb2.StartRunRequest": LEFT,
    "flwr.proto.control_pb2.StopRunRequest": LEFT,
    "flwr.proto.control_pb2.UnregisterNodeRequest": LISTED,
    "flwr.proto.fab_pb2.Fab": LEFT,
    "flwr.proto.fleet_pb2.PushMessagesRequest": FORGED,
    "flwr.proto.fleet_pb2.PushMessagesResponse": FORGED,
    "flwr.proto.message_pb2.ConfirmMessageReceivedRequest": LYING,
    "flwr.proto.message_pb2.Message": LYING,
    "flwr.proto.message_pb2.ObjectTree": OPENED,
    "flwr.proto.message_pb2.PushObjectRequest": PARTS,
    "flwr.proto.message_pb2.PushObjectResponse": PARTS,
    "flwr.proto.node_pb2.NodeInfo": LISTED,
    "flwr.proto.runtime_pb2.AcquireTaskRequest": ANSWERED,
    "flwr.proto.runtime_pb2.PullAppMessagesRequest": LYING,
    "flwr.proto.runtime_pb2.PullTaskInputRequest": LEFT,
    "flwr.proto.runtime_pb2.PushTaskOutputRequest": RAISED,
    "flwr.proto.runtime_pb2.SendTaskHeartbeatRequest": LEFT,
    "flwr.proto.task_pb2.Task": UNFETCHED,
    "flwr.server.superlink.linkstate.LinkState": FORGED,
    "flwr.server.superlink.linkstate.sql_linkstate.SqlLinkState": LIGHT,
    "flwr.supercore.constant.SQLITE_PRAGMAS": LIGHT,
    "flwr.supercore.corestate.sql_corestate.SqlCoreState": LIGHT,
    "flwr.supercore.sql_mixin": LIGHT,
    "flwr.supercore.constant.NodeStatus": LISTED,
    "flwr.supercore.control.control_http_client.ControlHttpClient": LISTED,
    "flwr.supercore.error.ApiErrorCode": FORGED,
    "flwr.supercore.error.FlowerError": FORGED,
    "flwr.supercore.inflatable.inflatable_object.get_object_body": OPENED,
    "flwr.supercore.inflatable.inflatable_object.get_object_head_values_from_object_content": OPENED,
    "flwr.supercore.inflatable.inflatable_object.iterate_object_tree": LYING,
    "flwr.supercore.inflatable.inflatable_protobuf_utils.make_pull_object_fn_protobuf": LYING,
    "flwr.supercore.inflatable.inflatable_utils.ObjectPullError": OPENED,
    "flwr.supercore.inflatable.inflatable_utils.ObjectPushError": (
        f"{STALLS}::test_a_superlink_that_dies_while_it_is_sent_a_message_ends_no_study"
    ),
    "flwr.supercore.inflatable.inflatable_utils.ObjectUnavailableError": OPENED,
    "flwr.supercore.inflatable.inflatable_utils.inflate_object_from_contents": OPENED,
    "flwr.supercore.inflatable.inflatable_utils.pull_and_inflate_object_from_tree": LOOKS,
    "flwr.supercore.inflatable.inflatable_utils.pull_objects": LOOKS,
    "flwr.supercore.interceptors.RuntimeTokenHttpInterceptor": LEFT,
    "flwr.supercore.interceptors.RuntimeVersionHttpInterceptor": LEFT,
    "flwr.supercore.interceptors.SuperExecAuthHttpInterceptor": ANSWERED,
    "flwr.supercore.protobuf.client.ProtobufCall": LISTED,
    "flwr.supercore.protobuf.client.ProtobufClient": PROXY,
    "flwr.supercore.protobuf.client.ProtobufClientInterceptor": LISTED,
    "flwr.supercore.protobuf.client.ProtobufRequestContext": LISTED,
    "flwr.supercore.retry.RetryInvoker": f"{SERVING}::test_a_superlink_that_dies_and_comes_back_is_waited_for",
    "flwr.supercore.retry.exponential": AGAIN,
    "flwr.supercore.retry.make_simple_http_retry_invoker": AGAIN,
    "flwr.supercore.run.Run": LEFT,
    "flwr.supercore.run.RunNotRunningException": HALVES,
    "flwr.supercore.runtime.RuntimeHttpClient": LEFT,
    "flwr.supercore.task_identity.TaskIdentity": ANSWERED,
    "flwr.superlink.auth_plugin.NoOpControlAuthnPlugin": REACH,
    "flwr.superlink.cli.flower_superlink.SuperLinkLifespan": REACH,
    "flwr.superlink.config_loader.SuperLinkLifespanConfig": REACH,
    "flwr.superlink.grid.HttpGrid": REMOVED,
    "flwr.superlink.main.create_app": REACH,
    "flwr.superlink.servicer.fleet.fleet_handlers": FORGED,
    "flwr.supernode.cli.flower_supernode.flower_supernode": ANSWERED,
    "flwr.supernode.fleet_http_connection": AGAIN,
    "flwr.supernode.nodestate.in_memory_nodestate.InMemoryNodeState": UNFETCHED,
    "flwr.supernode.runtime.run_clientapp": SILENT,
    "flwr.supernode.start_client_internal": NAPS,
}
