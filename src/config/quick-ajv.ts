/** How Ajv compiles a schema of our own that is used a few times. */

/**
 * Without a look at the schema itself, for which Ajv would first compile that of all schemas, and without a second pass over the
 * code it makes: both take longer than all that is validated with it, at each start.
 */
export const quickAjv = { validateSchema: false, code: { optimize: false } } as const;
