/** What can go wrong around a build, apart from the job itself. */
import { CodedError } from "#/lib/errors.ts";

export type BuildErrorCode =
  /**
   * What the launch asks for can't or mustn't be checked out. The change's or the client's fault: FAILURE.
   */
  | "CHECKOUT_REFUSED"
  /** The repository can't be reached or doesn't answer. Infrastructure: no result. */
  | "CHECKOUT_UNREACHABLE"
  /** The repository answers, but no longer has the commit that was asked for. Infrastructure: no result. */
  | "CHECKOUT_MOVED"
  /** git can't work in the mirror or the workspace. Infrastructure: no result. */
  | "CHECKOUT"
  /** git is missing on this box, or can't be started. Infrastructure: no result. */
  | "NO_GIT"
  /** The build's signal was aborted; its reason is the cause. */
  | "STOPPED"
  /** The workspace can't be created. Infrastructure: no result. */
  | "WORKSPACE"
  /** An input that the job takes is missing or wrong. The client's fault: FAILURE. */
  | "INPUT"
  /** A source of an input can't be reached, or the box can't store it. Infrastructure: no result. */
  | "INPUT_SOURCE"
  /** A secret of the job can't be read. Infrastructure: no result. */
  | "SECRET"
  /** The artifacts can't be stored, e.g. the disk is full. Infrastructure: no result. */
  | "ARTIFACTS"
  /** The folder of all builds can't be used: the agent can't start. */
  | "STORE"
  /** A filter of a list of builds can't match any. */
  | "FILTER"
  /** Old builds can't be removed. */
  | "PRUNE"
  /** A part of a tree can't be removed. */
  | "REMOVE";

export class BuildError extends CodedError<BuildErrorCode> {
  override readonly name = "BuildError";
}
