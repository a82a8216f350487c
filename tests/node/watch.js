// What all of these clients ask for, and how they go on where they were after a lost connection.
export const WATCH = `
  subscription Watch($id: ID!, $afterVersion: Int) {
    taskStatus(id: $id, afterVersion: $afterVersion) {
      id status version isTerminal
      progress { fraction message }
      failure { code message }
    }
  }
`;

/** A client of graphql-ws or graphql-sse that subscribes again with the version that it has seen last. */
export function resuming(client) {
  return {
    ...client,
    subscribe(request, sink) {
      // Both packages send this object again, as it is by then, when they connect again.
      const variables = { ...request.variables };
      return client.subscribe({ ...request, variables }, {
        next(result) {
          variables.afterVersion = result.data?.taskStatus?.version ?? variables.afterVersion;
          sink.next(result);
        },
        error: (error) => sink.error(error),
        complete: () => sink.complete(),
      });
    },
  };
}
