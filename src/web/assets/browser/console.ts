/** The live console. */
